#include "lib/base/atomic_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include "lib/base/available_memory.h"
#include "lib/base/fd.h"
#include "lib/base/guard.h"
#include "lib/base/status.h"
#include "lib/base/system_error.h"

namespace smelt {
namespace {

/// Smaller writes are left to the system.
constexpr size_t kMinWriteBack = 256 << 10;

absl::Status WriteError(const std::string& path, std::string_view what, int error) {
  return SystemError(path, what, error, "; free some space or choose another place");
}

/// Free bytes for this user on the file system of `fd`.
uint64_t FreeBytes(int fd) {
  struct statvfs info;
  if (fstatvfs(fd, &info) != 0) return std::numeric_limits<uint64_t>::max();
  return static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
}

/// Renames without ever replacing; falls back to a hard link where the file system lacks the flag.
int RenameNoReplace(const char* from, const char* to) {
  if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0) return 0;
  if (errno != EINVAL && errno != ENOSYS) return errno;
  if (link(from, to) == 0) {
    unlink(from);
    return 0;
  }
  if (errno != EPERM && errno != EOPNOTSUPP && errno != ENOSYS) return errno;
  struct stat info;  // neither is there (FAT): a short race is all that is left
  if (lstat(to, &info) == 0) return EEXIST;
  return rename(from, to) == 0 ? 0 : errno;
}

absl::Status OutputExists(const std::string& path) {
  return Error(ErrorCode::kAlreadyExists, Escape(path),
               " already exists; use --force to replace it, or another output name");
}

/// The folder of an output: there, and open to new files.
absl::Status CheckFolder(const std::string& folder) {
  struct stat info {};
  if (stat(folder.c_str(), &info) != 0 && (errno == ENOENT || errno == ENOTDIR)) {
    return Error(
        ErrorCode::kNotFound, Escape(folder),
        ": no such folder for the output; make it first (mkdir -p), or choose another one");
  }
  if (!S_ISDIR(info.st_mode)) {
    return Error(ErrorCode::kUsage, Escape(folder),
                 ": is no folder, so no output can be made in it; choose another one");
  }
  if (access(folder.c_str(), W_OK | X_OK) == 0) return absl::OkStatus();
  return Error(ErrorCode::kIo, Escape(folder),
               ": no file can be made in this folder: ", SystemReason(errno),
               "; choose another one for the output");
}

}  // namespace

std::string DirectoryOf(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

absl::Status SyncDirectory(const std::string& directory) {
  const int fd = open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return WriteError(directory, "the folder cannot be opened", errno);
  const int error = fsync(fd) == 0 ? 0 : errno;
  close(fd);
  // Some file systems cannot sync folders; there is nothing else to be done about it then.
  if (error != 0 && error != EINVAL)
    return WriteError(directory, "syncing the folder failed", error);
  return absl::OkStatus();
}

absl::Status CheckOutput(const std::string& path, bool force) {
  if (path.empty() || path.ends_with('/')) {
    if (!path.empty()) SMELT_RETURN_IF_ERROR(CheckFolder(path));
    return Error(ErrorCode::kUsage, "\"", Escape(path), "\" is no file name for an output");
  }
  SMELT_RETURN_IF_ERROR(CheckFolder(DirectoryOf(path)));
  struct stat info;
  if (lstat(path.c_str(), &info) != 0) return absl::OkStatus();
  if (S_ISLNK(info.st_mode) && stat(path.c_str(), &info) != 0) info.st_mode = S_IFREG;  // dangling
  if (!S_ISREG(info.st_mode)) {
    return Error(ErrorCode::kUsage, Escape(path), " is a ",
                 S_ISDIR(info.st_mode) ? "folder" : "device or pipe",
                 "; a file name is needed for the output");
  }
  return force ? absl::OkStatus() : OutputExists(path);
}

AtomicFile::AtomicFile(std::string path, uint64_t size, bool force)
    : path_(std::move(path)), part_path_(path_ + ".part"), size_(size), force_(force) {
  BelongsTo(size);
}

void AtomicFile::BelongsTo(uint64_t bytes_of_all) {
  // The gate reads what was written again, layer by layer: pages are dropped only where keeping
  // them would crowd out everything else, and the newest stay.
  constexpr uint64_t kSmall = 64 << 20;
  const std::optional<uint64_t> memory = bytes_of_all > kSmall ? AvailableMemory() : std::nullopt;
  drop_written_pages_ = memory && bytes_of_all > *memory / 4;
  most_held_bytes_ = memory.value_or(0) / 8;
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) close(fd_);
}

absl::StatusOr<std::unique_ptr<AtomicFile>> AtomicFile::Open(const std::string& path, uint64_t size,
                                                             bool force, Existing existing) {
  SMELT_RETURN_IF_ERROR(CheckOutput(path, force));
  std::unique_ptr<AtomicFile> file(new AtomicFile(path, size, force));
  SMELT_RETURN_IF_ERROR(file->OpenPart(existing));
  return file;
}

absl::Status AtomicFile::OpenPart(Existing existing) {
  const int create = existing == Existing::kResume ? 0 : O_CREAT;
  for (;;) {
    fd_ = open(part_path_.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | create, 0666);
    if (fd_ < 0) {
      if (errno == ENOENT && create == 0) {
        return Error(ErrorCode::kNotFound, Escape(part_path_), " does not exist");
      }
      if (errno == ENOENT) {
        return Error(ErrorCode::kNotFound, Escape(DirectoryOf(path_)),
                     ": no such folder for the output");
      }
      return WriteError(part_path_, "cannot be opened for writing", errno);
    }
    if (flock(fd_, LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK) return WriteError(part_path_, "cannot be locked", errno);
      return Error(ErrorCode::kAlreadyExists, Escape(part_path_),
                   " is being written by another run; wait for it or choose another output name");
    }
    // Between open and lock another run may have renamed or removed the file: then this is not
    // NAME.part any more.
    struct stat ours, there;
    if (fstat(fd_, &ours) != 0) return WriteError(part_path_, "cannot be examined", errno);
    if (lstat(part_path_.c_str(), &there) == 0 && ours.st_ino == there.st_ino &&
        ours.st_dev == there.st_dev) {
      if (!S_ISREG(ours.st_mode)) {
        return Error(ErrorCode::kUsage, Escape(part_path_), " is no regular file");
      }
      const uint64_t old_size = static_cast<uint64_t>(ours.st_size);
      if (existing == Existing::kResume && old_size != size_) {
        return Error(ErrorCode::kInvalidInput, Escape(part_path_), " has ", old_size,
                     " bytes, not ", size_);
      }
      if (existing == Existing::kRefuse && old_size != 0) {
        return Error(ErrorCode::kAlreadyExists, Escape(part_path_),
                     " already exists and is not known to be ours; choose another output name");
      }
      return Reserve(existing != Existing::kResume);
    }
    close(std::exchange(fd_, -1));
  }
}

absl::Status AtomicFile::Reserve(bool fresh) {
  if (size_ > static_cast<uint64_t>(std::numeric_limits<off_t>::max())) {
    return Error(ErrorCode::kNoSpace, Escape(path_), ": an output of ", size_, " bytes is too big");
  }
  if (fresh && ftruncate(fd_, 0) != 0) return WriteError(part_path_, "cannot be emptied", errno);
  struct stat info;
  const uint64_t have = fstat(fd_, &info) == 0 ? static_cast<uint64_t>(info.st_blocks) * 512 : 0;
  const uint64_t free_bytes = FreeBytes(fd_);
  int error = have < size_ && size_ - have > free_bytes ? ENOSPC : 0;
  if (error == 0 && size_ > 0) {
    do {
      error = fallocate(fd_, 0, 0, static_cast<off_t>(size_)) == 0 ? 0 : errno;
    } while (error == EINTR);
  }
  if (error == EOPNOTSUPP ||
      error == ENOSYS) {  // the file system cannot reserve: just the size then
    error = ftruncate(fd_, static_cast<off_t>(size_)) == 0 ? 0 : errno;
  }
  if (error == 0) return absl::OkStatus();
  if (fresh) Discard();
  if (error == ENOSPC || error == EDQUOT) {
    return Error(ErrorCode::kNoSpace, Escape(path_), ": no space for an output of ", size_,
                 " bytes, only ", free_bytes, " are free; free some space or choose another place");
  }
  return WriteError(part_path_, Cat("reserving ", size_, " bytes failed"), error);
}

absl::Status AtomicFile::WriteAt(uint64_t offset, std::span<const std::byte> bytes) {
  if (offset > size_ || bytes.size() > size_ - offset) {
    return Error(ErrorCode::kInternal, Escape(part_path_), ": a write at ", offset, " of ",
                 bytes.size(), " bytes leaves the file of ", size_);
  }
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n =
        pwrite(fd_, bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0)
      return WriteError(part_path_, Cat("writing at offset ", offset + done, " failed"), errno);
    done += static_cast<size_t>(n);
  }
  if (bytes.size() < kMinWriteBack) return absl::OkStatus();
  sync_file_range(fd_, static_cast<off_t>(offset), static_cast<off_t>(bytes.size()),
                  SYNC_FILE_RANGE_WRITE);
  if (!drop_written_pages_) return absl::OkStatus();

  std::vector<std::pair<uint64_t, uint64_t>> oldest;
  {
    const std::lock_guard lock(mutex_);
    held_.emplace_back(offset, bytes.size());
    held_bytes_ += bytes.size();
    while (held_bytes_ > most_held_bytes_) {
      oldest.push_back(held_.front());
      held_bytes_ -= held_.front().second;
      held_.pop_front();
    }
  }
  for (const auto& [first, count] : oldest) {
    const off_t at = static_cast<off_t>(first), length = static_cast<off_t>(count);
    sync_file_range(
        fd_, at, length,
        SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
    posix_fadvise(fd_, at, length, POSIX_FADV_DONTNEED);
  }
  return absl::OkStatus();
}

absl::Status AtomicFile::ReadAt(uint64_t offset, std::span<std::byte> out) const {
  const Transfer read = smelt::ReadAt(fd_, offset, out);
  const uint64_t at = offset + read.bytes;
  if (read.error != 0)
    return SystemError(part_path_, Cat("reading at offset ", at, " failed"), read.error);
  if (read.bytes < out.size())
    return Error(ErrorCode::kIo, Escape(part_path_), ": ends before offset ", at);
  return absl::OkStatus();
}

absl::StatusOr<std::string> AtomicFile::Identity() const {
  struct stat info;
  if (fstat(fd_, &info) != 0) return WriteError(part_path_, "cannot be examined", errno);
  return IdentityOf(info);
}

absl::Status AtomicFile::Shrink(uint64_t size) {
  if (size > size_)
    return Error(ErrorCode::kInternal, Escape(part_path_), ": ", size, " bytes are no fewer");
  if (ftruncate(fd_, static_cast<off_t>(size)) != 0)
    return WriteError(part_path_, "cannot be cut", errno);
  size_ = size;
  return absl::OkStatus();
}

absl::Status AtomicFile::Sync() {
  if (fsync(fd_) != 0) return WriteError(part_path_, "syncing to the disk failed", errno);
  return absl::OkStatus();
}

absl::Status AtomicFile::CommitAs(const std::string& path) {
  SMELT_RETURN_IF_ERROR(Sync());
  SMELT_RETURN_IF_ERROR(CheckOutput(path, force_));
  const int error = force_ ? (rename(part_path_.c_str(), path.c_str()) == 0 ? 0 : errno)
                           : RenameNoReplace(part_path_.c_str(), path.c_str());
  if (error == EEXIST) return OutputExists(path);
  if (error != 0) return WriteError(path, "the finished file cannot get its name", error);
  close(std::exchange(fd_, -1));
  return SyncDirectory(DirectoryOf(path));
}

void AtomicFile::Discard() {
  if (fd_ < 0) return;
  unlink(part_path_.c_str());  // before the lock goes, so that it is surely ours
  close(std::exchange(fd_, -1));
}

absl::Status CommitTogether(std::span<const std::unique_ptr<AtomicFile>> files,
                            std::span<const std::string> names, bool force) {
  for (const auto& file : files) SMELT_RETURN_IF_ERROR(file->Sync());
  for (const std::string& name : names) SMELT_RETURN_IF_ERROR(CheckOutput(name, force));
  if (files.size() > 1 && force) {
    const std::string& first = names.front();
    if (unlink(first.c_str()) == 0) {
      SMELT_RETURN_IF_ERROR(SyncDirectory(DirectoryOf(first)));
    } else if (errno != ENOENT) {
      return SystemError(first, "cannot be replaced", errno);
    }
  }
  for (size_t i = files.size(); i-- > 0;) SMELT_RETURN_IF_ERROR(files[i]->CommitAs(names[i]));
  return absl::OkStatus();
}

absl::Status TakeBack(const std::string& path) {
  const std::string part = path + ".part";
  const int error = RenameNoReplace(path.c_str(), part.c_str());
  if (error == 0) return absl::OkStatus();
  return SystemError(path, Cat("cannot be renamed to ", Escape(part)), error);
}

absl::Status WriteFileAtomically(const std::string& path, std::string_view content, bool force) {
  SMELT_ASSIGN_OR_RETURN(std::unique_ptr<AtomicFile> file,
                         AtomicFile::Open(path, content.size(), force));
  const absl::Status status = Guarded([&] {
    SMELT_RETURN_IF_ERROR(file->WriteAt(0, std::as_bytes(std::span(content))));
    return file->Commit();
  });
  if (!status.ok()) file->Discard();
  return status;
}

}  // namespace smelt
