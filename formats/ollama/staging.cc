#include "formats/ollama/staging.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <utility>

#include "formats/ollama/store.h"
#include "lib/base/atomic_file.h"
#include "lib/base/folder.h"
#include "lib/base/hash.h"
#include "lib/base/status.h"
#include "lib/base/system_error.h"

namespace smelt::ollama {
namespace {

/// Files in the staging folder that nobody has locked and that are older than this are left-overs.
constexpr time_t kStaleSeconds = 3600;

constexpr std::string_view kNew = "part-", kKeyEnding = ".gguf";
constexpr size_t kKeyDigits = 16;

/// Whether a file of this name is one that this program has made there.
bool IsOurs(std::string_view name) {
  if (name.starts_with(kNew)) return name.size() == kNew.size() + 6;
  const size_t digits = std::min(name.find_first_not_of("0123456789abcdef"), name.size());
  return digits == 64 ? name.size() == 64
                      : digits == kKeyDigits && name.substr(digits).starts_with(kKeyEnding);
}

}  // namespace

absl::Status StoreError(const std::string& path, std::string_view what, int error) {
  const absl::Status status =
      SystemError(path, what, error, "; free some space or choose another store");
  if (error != EACCES && error != EPERM && error != EROFS) return status;
  return Error(ErrorCode::kIo, std::string(status.message()), "; ", OwnerOf(path),
               ": run as that user, or choose another store with --store or OLLAMA_MODELS");
}

StagedFile::~StagedFile() {
  if (path_.empty()) return;
  unlink(path_.c_str());
  path_.resize(path_.rfind('/'));  // its folder, with no memory asked for
  rmdir(path_.c_str());            // stays while another import uses it
}

absl::Status StagedFile::Write(std::span<const std::byte> bytes) {
  const int error = WriteAll(fd(), bytes).error;
  return error == 0 ? absl::OkStatus() : StoreError(path_, "writing failed", error);
}

absl::Status StagedFile::MoveTo(const std::string& to) {
  if (fsync(fd()) != 0) return StoreError(path_, "syncing to the disk failed", errno);
  if (rename(path_.c_str(), to.c_str()) != 0) {
    return StoreError(to, "the finished file cannot get its name", errno);
  }
  path_.clear();
  return SyncDirectory(DirectoryOf(to));
}

absl::StatusOr<Staging> Staging::Open(const std::string& store) {
  Staging staging(store);
  struct stat info;
  if (stat(store.c_str(), &info) == 0) {
    if (!S_ISDIR(info.st_mode)) {
      return Error(ErrorCode::kUsage, Escape(store),
                   " is no folder, so it cannot be an Ollama store");
    }
    staging.owner_ = info.st_uid;
    staging.group_ = info.st_gid;
  } else {
    staging.owner_ = geteuid();
    staging.group_ = getegid();
  }
  return staging;
}

Staging::~Staging() {
  for (auto folder = made_.rbegin(); folder != made_.rend(); ++folder) rmdir(folder->c_str());
}

std::string Staging::Folder() const { return Cat(store_, "/smelt-staging"); }

void Staging::RemoveFolder() const { rmdir(Folder().c_str()); }

absl::Status Staging::MakeFolders(const std::string& path) {
  const auto make = [&] {
    made_.push_back(path);  // first: what is made is known, whatever fails then
    if (mkdir(path.c_str(), 0755) == 0) {
      // What has taken its place since, if anything has, is not given away.
      const Fd folder(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (folder.get() >= 0) GiveToOwner(folder.get());
      return true;
    }
    made_.pop_back();
    return false;
  };
  // Another program may remove a folder that is empty between two of our steps.
  for (int attempt = 0; attempt < 8; ++attempt) {
    if (make()) return absl::OkStatus();
    if (errno == ENOENT && path.find('/', 1) != std::string::npos) {
      SMELT_RETURN_IF_ERROR(MakeFolders(DirectoryOf(path)));
      if (make()) return absl::OkStatus();
    }
    struct stat info;
    if (errno != EEXIST) break;
    if (stat(path.c_str(), &info) == 0) {
      if (S_ISDIR(info.st_mode)) return absl::OkStatus();
      errno = EEXIST;
      break;
    }
    if (errno != ENOENT) break;
  }
  return StoreError(path, "this folder of the Ollama store cannot be made", errno);
}

/// Root imports into the service's store: its user must be able to remove what we made.
void Staging::GiveToOwner(int fd) const {
  if (geteuid() != 0 || owner_ == 0) return;
  if (fchown(fd, owner_, group_) != 0) {
    // Not allowed in some containers; the file is readable for all in any case.
  }
}

void Staging::RemoveStale() const {
  const std::string folder = Folder();
  const absl::StatusOr<std::vector<std::string>> names = ListFolder(folder);
  if (!names.ok()) return;
  for (const std::string& name : *names) {
    if (!IsOurs(name)) continue;
    const std::string path = Cat(folder, "/", name);
    const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    struct stat info;
    if (fd.get() < 0 || fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) continue;
    if (time(nullptr) - info.st_mtime < kStaleSeconds) continue;
    if (flock(fd.get(), LOCK_EX | LOCK_NB) == 0) unlink(path.c_str());
  }
}

/// The folder is there, and in the store: where a link leads, nothing of ours is made or removed.
absl::StatusOr<std::string> Staging::MakeFolder() {
  std::string folder = Folder();
  SMELT_RETURN_IF_ERROR(MakeFolders(folder));
  struct stat info;
  if (lstat(folder.c_str(), &info) != 0 || S_ISDIR(info.st_mode)) return folder;
  return Error(ErrorCode::kIo, Escape(folder),
               ": is a link, where files are made for the store; a folder is expected");
}

absl::StatusOr<StagedFile> Staging::New(uint64_t size) {
  std::string path;
  int fd = -1;
  for (int attempt = 0; fd < 0; ++attempt) {
    SMELT_ASSIGN_OR_RETURN(const std::string folder, MakeFolder());
    RemoveStale();
    path = Cat(folder, "/", kNew, "XXXXXX");
    fd = mkostemp(path.data(), O_CLOEXEC);
    // Another import that just ended may have removed the empty folder.
    if (fd < 0 && (errno != ENOENT || attempt == 3)) {
      return StoreError(folder, "no file can be made in this folder", errno);
    }
  }
  StagedFile staged(Fd(fd), std::move(path));
  if (flock(fd, LOCK_EX | LOCK_NB) != 0)
    return StoreError(staged.path(), "cannot be locked", errno);
  SMELT_RETURN_IF_ERROR(Prepare(staged, size));
  return staged;
}

absl::StatusOr<StagedFile> Staging::Named(const std::string& name, uint64_t size) {
  std::string path;
  int fd = -1;
  for (int attempt = 0; fd < 0 && attempt < 4; ++attempt) {
    SMELT_ASSIGN_OR_RETURN(const std::string folder, MakeFolder());
    RemoveStale();
    path = Cat(folder, "/", name);
    fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644);
    if (fd < 0 && errno != ENOENT) break;
  }
  if (fd < 0) return StoreError(path, "cannot be opened", errno);
  StagedFile staged(Fd(fd), std::move(path));
  struct stat ours, there;
  if (flock(fd, LOCK_EX | LOCK_NB) != 0 || fstat(fd, &ours) != 0 ||
      lstat(staged.path().c_str(), &there) != 0 || ours.st_ino != there.st_ino ||
      !S_ISREG(ours.st_mode)) {
    staged.Leave();
    return New(size);
  }
  if (static_cast<uint64_t>(ours.st_size) > size && ftruncate(fd, 0) != 0)
    return StoreError(staged.path(), "cannot be emptied", errno);
  SMELT_RETURN_IF_ERROR(Prepare(staged, size));
  return staged;
}

absl::StatusOr<StagedFile> Staging::Finished(const std::string& path) {
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return StoreError(path, "cannot be opened", errno);
  StagedFile staged(Fd(fd), path);
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) return StoreError(path, "cannot be locked", errno);
  SMELT_RETURN_IF_ERROR(Prepare(staged, 0));
  return staged;
}

absl::StatusOr<std::string> Staging::PathFor(std::string_view key) {
  SMELT_ASSIGN_OR_RETURN(const std::string folder, MakeFolder());
  return Cat(folder, "/", Sha256Hex(std::as_bytes(std::span(key))).substr(0, kKeyDigits),
             kKeyEnding);
}

/// Mode, owner and space of a blob.
absl::Status Staging::Prepare(const StagedFile& staged, uint64_t size) const {
  if (fchmod(staged.fd(), 0644) != 0)
    return StoreError(staged.path(), "its mode cannot be set", errno);
  GiveToOwner(staged.fd());
  if (size > 0 && fallocate(staged.fd(), FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(size)) != 0 &&
      errno != EOPNOTSUPP && errno != ENOSYS) {
    return StoreError(store_, Cat("no space for a model of ", size, " bytes"), errno);
  }
  return absl::OkStatus();
}

}  // namespace smelt::ollama
