// Files mapped into memory, known by their addresses: one that shrinks underneath is an error and
// not the end of the process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/statusor.h"

namespace smelt {

/// The first `size` bytes of a file, mapped read-only.
class MappedFile {
 public:
  /// `fd` stays open as long as the mapping lives, unless it is `by_name` that the file is looked
  /// at again. `name` is for messages too; `size` is above 0.
  static absl::StatusOr<std::unique_ptr<MappedFile>> Map(int fd, uint64_t size,
                                                         const std::string& name,
                                                         bool by_name = false);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return bytes_; }

  /// This process lets go of the whole pages among these bytes, until it reads them again.
  void DropPages(uint64_t offset, uint64_t bytes) const;

 private:
  struct Place;
  MappedFile() = default;

  friend class MappedPlaces;
  std::span<const std::byte> bytes_;
  Place* place_ = nullptr;
};

/// kIo with the name of the first mapped file that is shorter than it was when it was mapped, or a
/// part of which could not be read. What was computed from it since means nothing.
absl::Status CheckMappedFiles();

/// From now on, reading what a mapped file has lost gives zeros instead of SIGBUS, and
/// CheckMappedFiles() the error. A fault anywhere else goes to the handler that was there before.
void CatchLostPages();

}  // namespace smelt
