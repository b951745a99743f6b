// Files in making beside an Ollama store: in the folder `STORE/smelt-staging`, which no Ollama
// looks at, until they are whole and get their place by a rename.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/fd.h"

namespace smelt::ollama {

/// A system error at a path of a store, with the way out.
absl::Status StoreError(const std::string& path, std::string_view what, int error);

/// A file in the staging folder; locked while it is ours, removed unless it was moved away.
class StagedFile {
 public:
  StagedFile(Fd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}
  StagedFile(StagedFile&& other) noexcept
      : fd_(std::move(other.fd_)), path_(std::exchange(other.path_, "")) {}
  ~StagedFile();
  int fd() const { return fd_.get(); }
  const std::string& path() const { return path_; }
  /// The file stays where it is.
  void Leave() { path_.clear(); }

  /// Appends where the file stands.
  absl::Status Write(std::span<const std::byte> bytes);
  /// Synced and renamed; replaces what is at `to`.
  absl::Status MoveTo(const std::string& to);

 private:
  Fd fd_;
  std::string path_;
};

/// The folders of a store and the files being made for it.
class Staging {
 public:
  /// The store need not exist. kUsage where it is no folder.
  static absl::StatusOr<Staging> Open(const std::string& store);
  Staging(Staging&&) = default;
  /// Of the folders that were made, those that stayed empty go.
  ~Staging();

  const std::string& store() const { return store_; }
  uid_t owner() const { return owner_; }

  /// A folder of the store, and those above it.
  absl::Status MakeFolders(const std::string& path);

  /// A new file for `size` bytes. Left-overs of killed runs are removed.
  absl::StatusOr<StagedFile> New(uint64_t size);
  /// A file of this name, which an earlier run may have begun; a new one while another run writes
  /// it.
  absl::StatusOr<StagedFile> Named(const std::string& name, uint64_t size);
  /// One that somebody made at a path of PathFor.
  absl::StatusOr<StagedFile> Finished(const std::string& path);
  /// A path in the folder, the same for the same `key`.
  absl::StatusOr<std::string> PathFor(std::string_view key);
  /// The folder goes, unless another import uses it.
  void RemoveFolder() const;

 private:
  explicit Staging(std::string store) : store_(std::move(store)) {}
  std::string Folder() const;
  absl::StatusOr<std::string> MakeFolder();
  absl::Status Prepare(const StagedFile& staged, uint64_t size) const;
  void GiveToOwner(int fd) const;
  void RemoveStale() const;

  std::string store_;
  uid_t owner_ = 0;
  gid_t group_ = 0;
  std::vector<std::string> made_;  ///< folders, outer ones first
};

}  // namespace smelt::ollama
