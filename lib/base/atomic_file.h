// Output that appears under its final name only when complete: written to NAME.part beside it,
// synced, renamed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace smelt {

/// A file being written at NAME.part. While the object lives it holds an exclusive lock on the
/// part, so that two runs with the same output cannot mix their bytes. The object's end leaves the
/// part on disk (an interrupted run resumes from it) unless Commit or Discard came first. WriteAt
/// and ReadAt are thread-safe; the rest is not.
class AtomicFile {
 public:
  /// What to do with a NAME.part that exists already (and that nobody has locked).
  enum class Existing {
    kRefuse,   ///< kAlreadyExists, unless it is empty: it may be another program's
    kReplace,  ///< start over; the caller knows, for instance by a journal, that it is of an
               ///< earlier run
    kResume,   ///< keep its content; kNotFound when there is none, kInvalidInput when its size is
               ///< not `size`
  };

  /// Opens NAME.part for an output of `size` bytes and reserves the whole space at once: a full
  /// disk is found out before the work (kNoSpace). Also checks, with `force` false, that nothing of
  /// the final name exists; Commit checks again. Errors: kAlreadyExists (the output, a part, or
  /// another run that holds the lock), kNoSpace, kIo, kUsage (the final name is a folder or
  /// device).
  static absl::StatusOr<std::unique_ptr<AtomicFile>> Open(const std::string& path, uint64_t size,
                                                          bool force,
                                                          Existing existing = Existing::kRefuse);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Of an output of several files: what all of them take together decides whether pages that were
  /// written are dropped. Before the first write.
  void BelongsTo(uint64_t bytes_of_all);

  const std::string& path() const { return path_; }
  const std::string& part_path() const { return part_path_; }
  uint64_t size() const { return size_; }

  /// All of `bytes` at `offset`, inside `size()`. Starts writing them back, so that dirty pages do
  /// not pile up.
  absl::Status WriteAt(uint64_t offset, std::span<const std::byte> bytes);
  /// Reads back what was written.
  absl::Status ReadAt(uint64_t offset, std::span<std::byte> out) const;

  /// IdentityOf the file as it is now: the same after it got its name.
  absl::StatusOr<std::string> Identity() const;

  /// The output turned out to be smaller than was reserved: `size()` is `size` from now on.
  absl::Status Shrink(uint64_t size);

  /// Everything written so far is on the disk when this returns.
  absl::Status Sync();

  /// Sync, rename to the final name, sync of the directory. With `force` false never replaces a
  /// file, even one that appeared a moment ago. After an error the part is still there.
  absl::Status Commit() { return CommitAs(path_); }
  /// The same under another name in the same folder.
  absl::Status CommitAs(const std::string& path);

  /// Removes the part (a refused or rejected output).
  void Discard();

 private:
  AtomicFile(std::string path, uint64_t size, bool force);
  absl::Status OpenPart(Existing existing);
  absl::Status Reserve(bool fresh);

  std::string path_, part_path_;
  uint64_t size_;
  bool force_;
  int fd_ = -1;
  bool drop_written_pages_ = false;
  std::mutex mutex_;
  uint64_t most_held_bytes_ = 0;
  uint64_t held_bytes_ = 0;
  std::deque<std::pair<uint64_t, uint64_t>> held_;  ///< ranges that were written last
};

/// Commits the files of one output under `names`, the first last: who opens the first finds the
/// others. With `force` an old first file goes before any other is replaced, so that no old file is
/// read together with new ones. Files that got their names before an error keep them; see TakeBack.
absl::Status CommitTogether(std::span<const std::unique_ptr<AtomicFile>> files,
                            std::span<const std::string> names, bool force);

/// `path`, which an earlier run committed before it was killed, becomes PATH.part again. The caller
/// knows that it is that run's, and holds the lock on the output's first part.
absl::Status TakeBack(const std::string& path);

/// A folder's entries are on the disk when this returns.
absl::Status SyncDirectory(const std::string& directory);

/// The folder part of a path: "." when there is none.
std::string DirectoryOf(const std::string& path);

/// A small file written through AtomicFile.
absl::Status WriteFileAtomically(const std::string& path, std::string_view content, bool force);

/// kAlreadyExists when `path` exists and `force` is false; kUsage when it is a folder or a device
/// either way.
absl::Status CheckOutput(const std::string& path, bool force);

}  // namespace smelt
