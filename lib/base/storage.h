// Bytes at rest: a file, a part of one, memory; later an archive member or a URL.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace smelt {

/// Random access to immutable bytes. Thread-safe. Conversion uses ReadAt (no SIGBUS when a file
/// shrinks underneath), the engine maps.
class Storage {
 public:
  virtual ~Storage() = default;

  /// What to call it in messages: the path as given, or "archive.bin:data/0".
  virtual const std::string& name() const = 0;
  virtual uint64_t size() const = 0;

  /// Fills `out` completely from `offset`, or fails (kInvalidInput past the end, kIo when the
  /// system fails or the file shrank).
  virtual absl::Status ReadAt(uint64_t offset, std::span<std::byte> out) const = 0;

  /// The whole storage mapped read-only, valid as long as the storage lives; kUnsupported where
  /// that is impossible.
  virtual absl::StatusOr<std::span<const std::byte>> Map() const = 0;

  /// These bytes are not needed soon: the system may give the memory that holds them to others
  /// first. Reading them stays possible.
  virtual void DropPages(uint64_t /*offset*/, uint64_t /*bytes*/) const {}

  /// Size, modification time and inode of the file underneath, as text: changes when the file does.
  virtual std::string identity() const = 0;
};

/// A regular file. Refuses folders, fifos and devices by name. Follows symbolic links. Of many
/// storages only some keep their files open: one that was closed is opened again by its name and
/// must be the same file still.
absl::StatusOr<std::shared_ptr<Storage>> OpenFile(const std::string& path);

/// Bytes in memory, for tests and for small generated parts.
std::shared_ptr<Storage> MemoryStorage(std::string name, std::vector<std::byte> bytes);

/// A window of another storage.
absl::StatusOr<std::shared_ptr<Storage>> SubStorage(std::shared_ptr<Storage> whole,
                                                    std::string name, uint64_t offset,
                                                    uint64_t size);

/// The first bytes of a storage, at most `limit`: enough to tell what it is.
absl::StatusOr<std::string> ReadStart(const Storage& storage, uint64_t limit);

/// A whole small file as text; refuses more than `limit` bytes, and a pointer in its place.
absl::StatusOr<std::string> ReadTextFile(const std::string& path, uint64_t limit = 1ull << 30);

}  // namespace smelt
