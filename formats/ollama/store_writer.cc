#include "formats/ollama/store_writer.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <set>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

#include "formats/ollama/store.h"
#include "lib/base/atomic_file.h"
#include "lib/base/fd.h"
#include "lib/base/folder.h"
#include "lib/base/hash.h"
#include "lib/base/job_scope.h"
#include "lib/base/status.h"
#include "lib/base/storage.h"
#include "lib/base/system_error.h"

namespace smelt::ollama {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kStaging = "smelt-staging";
constexpr size_t kChunk = 4 << 20;
/// Files in the staging folder that nobody has locked and that are older than this are left-overs.
constexpr time_t kStaleSeconds = 3600;

absl::Status StoreError(const std::string& path, std::string_view what, int error) {
  const absl::Status status =
      SystemError(path, what, error, "; free some space or choose another store");
  if (error != EACCES && error != EPERM && error != EROFS) return status;
  return Error(ErrorCode::kIo, std::string(status.message()), "; ", OwnerOf(path),
               ": run as that user, or choose another store with --store or OLLAMA_MODELS");
}

absl::StatusOr<Fd> OpenForReading(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return StoreError(path, "cannot be opened", errno);
  return Fd(fd);
}

absl::Status Write(int fd, const std::string& path, std::span<const std::byte> bytes) {
  const int error = WriteAll(fd, bytes).error;
  return error == 0 ? absl::OkStatus() : StoreError(path, "writing failed", error);
}

/// SHA-256 of the first `size` bytes of `fd`; they are also written to `copy` when that is not
/// negative.
absl::StatusOr<std::string> HashFile(int fd, const std::string& path, uint64_t size, int copy,
                                     const BlobProgress& progress) {
  posix_fadvise(fd, 0, static_cast<off_t>(size), POSIX_FADV_SEQUENTIAL);
  Sha256 sha;
  std::vector<std::byte> buffer(std::min<uint64_t>(kChunk, std::max<uint64_t>(size, 1)));
  for (uint64_t done = 0; done < size;) {
    SMELT_RETURN_IF_ERROR(GoOn());
    const size_t want = std::min<uint64_t>(buffer.size(), size - done);
    const ssize_t n = pread(fd, buffer.data(), want, static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return StoreError(path, "reading failed", errno);
    if (n == 0) return Error(ErrorCode::kIo, Escape(path), ": became shorter while it was read");
    const std::span<const std::byte> bytes(buffer.data(), static_cast<size_t>(n));
    sha.Update(bytes);
    if (copy >= 0) SMELT_RETURN_IF_ERROR(Write(copy, path, bytes));
    done += bytes.size();
    if (progress) SMELT_RETURN_IF_ERROR(progress(done, size));
  }
  return sha.FinishHex();
}

/// Changes when the file's content may have changed.
std::string ChangeMark(int fd) {
  struct stat info;
  if (fstat(fd, &info) != 0) return "";
  return Cat(static_cast<uint64_t>(info.st_size), " ", static_cast<int64_t>(info.st_mtim.tv_sec),
             " ", static_cast<int64_t>(info.st_mtim.tv_nsec));
}

}  // namespace

absl::StatusOr<std::string> HashOf(const std::string& path, const BlobProgress& progress) {
  SMELT_ASSIGN_OR_RETURN(const Fd file, OpenForReading(path));
  struct stat info;
  if (fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return Error(ErrorCode::kUsage, Escape(path), " is no regular file");
  }
  return HashFile(file.get(), path, static_cast<uint64_t>(info.st_size), -1, progress);
}

/// A file being made in the staging folder; locked while it is ours, removed unless it was moved
/// away.
class StoreWriter::Staged {
 public:
  Staged(Fd fd, std::string path, std::string folder)
      : fd_(std::move(fd)), path_(std::move(path)), folder_(std::move(folder)) {}
  Staged(Staged&& other) noexcept
      : fd_(std::move(other.fd_)),
        path_(std::exchange(other.path_, "")),
        folder_(std::move(other.folder_)) {}
  ~Staged() {
    if (path_.empty()) return;
    unlink(path_.c_str());
    rmdir(folder_.c_str());  // stays while another import uses it
  }
  int fd() const { return fd_.get(); }
  const std::string& path() const { return path_; }
  /// The file stays where it is.
  void Leave() { path_.clear(); }

  /// Synced and renamed; replaces what is at `to`.
  absl::Status MoveTo(const std::string& to) {
    if (fsync(fd()) != 0) return StoreError(path_, "syncing to the disk failed", errno);
    if (rename(path_.c_str(), to.c_str()) != 0) {
      return StoreError(to, "the finished file cannot get its name", errno);
    }
    path_.clear();
    return SyncDirectory(DirectoryOf(to));
  }

 private:
  Fd fd_;
  std::string path_, folder_;
};

absl::StatusOr<StoreWriter> StoreWriter::Open(const std::string& store) {
  StoreWriter writer(store);
  struct stat info;
  if (stat(store.c_str(), &info) == 0) {
    if (!S_ISDIR(info.st_mode)) {
      return Error(ErrorCode::kUsage, Escape(store),
                   " is no folder, so it cannot be an Ollama store");
    }
    writer.owner_ = info.st_uid;
    writer.group_ = info.st_gid;
  } else {
    writer.owner_ = geteuid();
    writer.group_ = getegid();
  }
  SMELT_RETURN_IF_ERROR(writer.MakeFolders(Cat(store, "/blobs")));
  return writer;
}

StoreWriter::~StoreWriter() {
  for (auto folder = made_.rbegin(); folder != made_.rend(); ++folder) rmdir(folder->c_str());
}

absl::Status StoreWriter::MakeFolders(const std::string& path) {
  const auto make = [&] {
    made_.push_back(path);  // first: what is made is known, whatever fails then
    if (mkdir(path.c_str(), 0755) == 0) {
      GiveToOwner(-1, path);
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
void StoreWriter::GiveToOwner(int fd, const std::string& path) const {
  if (geteuid() != 0 || owner_ == 0) return;
  if (fd >= 0 ? fchown(fd, owner_, group_) : lchown(path.c_str(), owner_, group_)) {
    // Not allowed in some containers; the file is readable for all in any case.
  }
}

void StoreWriter::RemoveStale() const {
  const std::string folder = Cat(store_, "/", kStaging);
  const absl::StatusOr<std::vector<std::string>> names = ListFolder(folder);
  if (!names.ok()) return;
  for (const std::string& name : *names) {
    const std::string path = Cat(folder, "/", name);
    const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    struct stat info;
    if (fd.get() < 0 || fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) continue;
    if (time(nullptr) - info.st_mtime < kStaleSeconds) continue;
    if (flock(fd.get(), LOCK_EX | LOCK_NB) == 0) unlink(path.c_str());
  }
}

absl::StatusOr<StoreWriter::Staged> StoreWriter::Stage(uint64_t size) {
  std::string folder = Cat(store_, "/", kStaging);
  std::string path;
  int fd = -1;
  for (int attempt = 0; fd < 0; ++attempt) {
    SMELT_RETURN_IF_ERROR(MakeFolders(folder));
    RemoveStale();
    path = folder + "/part-XXXXXX";
    fd = mkostemp(path.data(), O_CLOEXEC);
    // Another import that just ended may have removed the empty folder.
    if (fd < 0 && (errno != ENOENT || attempt == 3)) {
      return StoreError(folder, "no file can be made in this folder", errno);
    }
  }
  Staged staged(Fd(fd), std::move(path), std::move(folder));
  if (flock(fd, LOCK_EX | LOCK_NB) != 0)
    return StoreError(staged.path(), "cannot be locked", errno);
  SMELT_RETURN_IF_ERROR(Prepare(staged, size));
  return staged;
}

/// A file of this name, which an earlier run may have begun; a new one while another run writes it.
absl::StatusOr<StoreWriter::Staged> StoreWriter::StageAs(const std::string& name, uint64_t size) {
  std::string folder = Cat(store_, "/", kStaging);
  std::string path = Cat(folder, "/", name);
  int fd = -1;
  for (int attempt = 0; fd < 0 && attempt < 4; ++attempt) {
    SMELT_RETURN_IF_ERROR(MakeFolders(folder));
    RemoveStale();
    fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644);
    if (fd < 0 && errno != ENOENT) break;
  }
  if (fd < 0) return StoreError(path, "cannot be opened", errno);
  Staged staged(Fd(fd), std::move(path), std::move(folder));
  struct stat ours, there;
  if (flock(fd, LOCK_EX | LOCK_NB) != 0 || fstat(fd, &ours) != 0 ||
      lstat(staged.path().c_str(), &there) != 0 || ours.st_ino != there.st_ino ||
      !S_ISREG(ours.st_mode)) {
    staged.Leave();
    return Stage(size);
  }
  if (static_cast<uint64_t>(ours.st_size) > size && ftruncate(fd, 0) != 0)
    return StoreError(staged.path(), "cannot be emptied", errno);
  SMELT_RETURN_IF_ERROR(Prepare(staged, size));
  return staged;
}

/// Mode, owner and space of a blob.
absl::Status StoreWriter::Prepare(const Staged& staged, uint64_t size) {
  if (fchmod(staged.fd(), 0644) != 0)
    return StoreError(staged.path(), "its mode cannot be set", errno);
  GiveToOwner(staged.fd(), staged.path());
  if (size > 0 && fallocate(staged.fd(), FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(size)) != 0 &&
      errno != EOPNOTSUPP && errno != ENOSYS) {
    return StoreError(store_, Cat("no space for a model of ", size, " bytes"), errno);
  }
  return absl::OkStatus();
}

bool StoreWriter::GoodBlob(const std::string& hex, uint64_t size) const {
  const std::string path = Cat(store_, "/blobs/sha256-", hex);
  const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));  // a pipe would wait
  struct stat info;
  if (fd.get() < 0 || fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) return false;
  if (static_cast<uint64_t>(info.st_size) != size) return false;
  const absl::StatusOr<std::string> found = HashFile(fd.get(), path, size, -1, nullptr);
  if (!found.ok() || *found != hex) return false;
  utimensat(AT_FDCWD, path.c_str(), nullptr,
            0);  // fails on somebody else's file: nothing to be done
  return true;
}

bool StoreWriter::HasBlobOfSize(uint64_t size) const {
  const absl::StatusOr<std::vector<std::string>> names = ListFolder(store_ + "/blobs");
  return names.ok() && std::any_of(names->begin(), names->end(), [&](const std::string& name) {
           struct stat info;
           return stat(Cat(store_, "/blobs/", name).c_str(), &info) == 0 && S_ISREG(info.st_mode) &&
                  static_cast<uint64_t>(info.st_size) == size;
         });
}

absl::StatusOr<AddedBlob> StoreWriter::Place(Staged& staged, const std::string& hex,
                                             std::string_view how) {
  struct stat info;
  if (fstat(staged.fd(), &info) != 0) return StoreError(staged.path(), "cannot be examined", errno);
  AddedBlob blob{.digest = Cat("sha256:", hex),
                 .path = Cat(store_, "/blobs/sha256-", hex),
                 .how = std::string(how),
                 .size = static_cast<uint64_t>(info.st_size)};
  if (GoodBlob(hex, blob.size)) {
    blob.how = "present";
    return blob;
  }
  SMELT_RETURN_IF_ERROR(GoOn());
  SMELT_RETURN_IF_ERROR(MakeFolders(DirectoryOf(blob.path)));  // another import may have ended
  SMELT_RETURN_IF_ERROR(staged.MoveTo(blob.path));
  return blob;
}

absl::StatusOr<AddedBlob> StoreWriter::AddText(std::string_view content) {
  SMELT_ASSIGN_OR_RETURN(Staged staged, Stage(content.size()));
  const auto bytes = std::as_bytes(std::span(content));
  SMELT_RETURN_IF_ERROR(Write(staged.fd(), staged.path(), bytes));
  return Place(staged, Sha256Hex(bytes), "copy");
}

absl::StatusOr<AddedBlob> StoreWriter::AddStream(const std::string& hex, uint64_t size,
                                                 BlobStream& stream, const BlobProgress& progress) {
  if (GoodBlob(hex, size)) {
    SMELT_RETURN_IF_ERROR(stream.Skip(size));
    return AddedBlob{Cat("sha256:", hex), Cat(store_, "/blobs/sha256-", hex), "present", size};
  }
  SMELT_ASSIGN_OR_RETURN(Staged staged, StageAs(hex, size));
  Sha256 sha;
  const absl::StatusOr<uint64_t> begun = Fill(staged, size, stream, progress, sha);
  if (!begun.ok()) {
    if (CodeOf(begun.status()) != ErrorCode::kInvalidInput) staged.Leave();
    return begun.status();
  }
  if (sha.FinishHex() == hex) return Place(staged, hex, "bundle");
  if (*begun > 0) {
    return Error(ErrorCode::kIo, Escape(staged.path()),
                 ": what an interrupted import left of this blob is damaged; import it once more");
  }
  return Error(ErrorCode::kInvalidInput, "the content of sha256:", hex,
               " is another one than its digest says");
}

/// The rest of a staged file from the stream, all of it hashed; how much was there before.
absl::StatusOr<uint64_t> StoreWriter::Fill(Staged& staged, uint64_t size, BlobStream& stream,
                                           const BlobProgress& progress, Sha256& sha) {
  std::vector<std::byte> buffer(static_cast<size_t>(std::clamp<uint64_t>(size, 1, kChunk)));
  uint64_t done = 0;
  for (;;) {  // what is there
    const Transfer read = ReadAt(staged.fd(), done, buffer);
    if (read.error != 0) return StoreError(staged.path(), "reading failed", read.error);
    sha.Update(std::span(buffer).first(read.bytes));
    done += read.bytes;
    if (read.bytes < buffer.size()) break;
    SMELT_RETURN_IF_ERROR(GoOn());
  }
  const uint64_t begun = done;
  SMELT_RETURN_IF_ERROR(stream.Skip(begun));
  if (lseek(staged.fd(), static_cast<off_t>(begun), SEEK_SET) < 0)
    return StoreError(staged.path(), "cannot be continued", errno);
  while (done < size) {
    SMELT_RETURN_IF_ERROR(GoOn());
    const auto piece = std::span(buffer).first(
        static_cast<size_t>(std::min<uint64_t>(buffer.size(), size - done)));
    SMELT_ASSIGN_OR_RETURN(const size_t got, stream.Read(piece));
    if (got < piece.size())
      return Error(ErrorCode::kInvalidInput, "the content of a blob ends too early");
    sha.Update(piece);
    SMELT_RETURN_IF_ERROR(Write(staged.fd(), staged.path(), piece));
    done += got;
    if (progress) SMELT_RETURN_IF_ERROR(progress(done, size));
  }
  return begun;
}

absl::StatusOr<AddedBlob> StoreWriter::ClonedFile(int source, uint64_t size,
                                                  const BlobProgress& progress) {
  SMELT_ASSIGN_OR_RETURN(Staged staged, Stage(0));
  if (ioctl(staged.fd(), FICLONE, source) != 0) {
    return Error(ErrorCode::kUnsupported, "this file system cannot share the blocks of two files");
  }
  SMELT_ASSIGN_OR_RETURN(const std::string hex,
                         HashFile(staged.fd(), staged.path(), size, -1, progress));
  return Place(staged, hex, "reflink");
}

bool StoreWriter::MayLink(int source) const {
  struct stat info, blobs;
  if (fstat(source, &info) != 0 || stat(Cat(store_, "/blobs").c_str(), &blobs) != 0) return false;
  if (info.st_dev != blobs.st_dev)
    return false;  // found out before the file is read for its digest
  const bool readable_by_all = (info.st_mode & 0444) == 0444;
  const bool writable_by_others = (info.st_mode & 0022) != 0;
  return readable_by_all && !writable_by_others && info.st_uid == owner_;
}

absl::StatusOr<AddedBlob> StoreWriter::LinkedFile(int source, uint64_t size,
                                                  const std::string& hex) {
  AddedBlob blob{.digest = Cat("sha256:", hex),
                 .path = Cat(store_, "/blobs/sha256-", hex),
                 .how = "hard link",
                 .size = size};
  const std::string by_number =
      Cat("/proc/self/fd/", source);  // the file that was hashed, not a name
  if (linkat(AT_FDCWD, by_number.c_str(), AT_FDCWD, blob.path.c_str(), AT_SYMLINK_FOLLOW) != 0) {
    return Error(ErrorCode::kUnsupported, "the file cannot be linked into the store");
  }
  SMELT_RETURN_IF_ERROR(SyncDirectory(DirectoryOf(blob.path)));
  return blob;
}

absl::StatusOr<AddedBlob> StoreWriter::CopiedFile(const std::string& path, int source,
                                                  uint64_t size, const BlobProgress& progress) {
  SMELT_ASSIGN_OR_RETURN(Staged staged, Stage(size));
  SMELT_ASSIGN_OR_RETURN(const std::string hex,
                         HashFile(source, path, size, staged.fd(), progress));
  return Place(staged, hex, "copy");
}

absl::StatusOr<std::string> StoreWriter::StagingPath(std::string_view key) {
  const std::string folder = Cat(store_, "/", kStaging);
  SMELT_RETURN_IF_ERROR(MakeFolders(folder));
  return Cat(folder, "/", Sha256Hex(std::as_bytes(std::span(key))).substr(0, 16), ".gguf");
}

absl::StatusOr<AddedBlob> StoreWriter::Adopt(const std::string& path,
                                             const BlobProgress& progress) {
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return StoreError(path, "cannot be opened", errno);
  Staged staged(Fd(fd), path, DirectoryOf(path));
  struct stat info;
  if (fstat(fd, &info) != 0) return StoreError(path, "cannot be examined", errno);
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) return StoreError(path, "cannot be locked", errno);
  if (fchmod(fd, 0644) != 0) return StoreError(path, "its mode cannot be set", errno);
  GiveToOwner(fd, path);
  SMELT_ASSIGN_OR_RETURN(const std::string hex,
                         HashFile(fd, path, static_cast<uint64_t>(info.st_size), -1, progress));
  return Place(staged, hex, "conversion");
}

absl::StatusOr<AddedBlob> StoreWriter::Keep(const Layer& layer) {
  AddedBlob blob{.digest = layer.digest,
                 .path = BlobFile(store_, layer.digest),
                 .how = "present",
                 .size = layer.size};
  struct stat info;
  if (stat(blob.path.c_str(), &info) != 0 || static_cast<uint64_t>(info.st_size) != layer.size) {
    return Error(ErrorCode::kNotFound, Escape(blob.path), ": this blob of the model is ",
                 Exists(blob.path) ? "damaged: it has another size than the manifest says"
                                   : "missing from the store");
  }
  // Fails on somebody else's file: nothing to be done.
  utimensat(AT_FDCWD, blob.path.c_str(), nullptr, 0);
  return blob;
}

absl::StatusOr<AddedBlob> StoreWriter::AddFile(const std::string& path,
                                               const BlobProgress& progress, bool copy) {
  SMELT_ASSIGN_OR_RETURN(const Fd source, OpenForReading(path));
  struct stat info;
  if (fstat(source.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return Error(ErrorCode::kUsage, Escape(path), " is no regular file");
  }
  const uint64_t size = static_cast<uint64_t>(info.st_size);

  if (copy) return CopiedFile(path, source.get(), size, progress);
  absl::StatusOr<AddedBlob> cloned = ClonedFile(source.get(), size, progress);
  if (cloned.ok() || CodeOf(cloned.status()) != ErrorCode::kUnsupported) return cloned;

  const bool may_link = MayLink(source.get());
  if (may_link || HasBlobOfSize(size)) {
    const std::string before = ChangeMark(source.get());
    SMELT_ASSIGN_OR_RETURN(const std::string hex, HashFile(source.get(), path, size, -1, progress));
    if (ChangeMark(source.get()) != before) {
      return Error(ErrorCode::kInvalidInput, Escape(path),
                   ": was changed while it was read; try again");
    }
    if (GoodBlob(hex, size)) {
      return AddedBlob{Cat("sha256:", hex), Cat(store_, "/blobs/sha256-", hex), "present", size};
    }
    if (may_link) {
      absl::StatusOr<AddedBlob> linked = LinkedFile(source.get(), size, hex);
      if (linked.ok() || CodeOf(linked.status()) != ErrorCode::kUnsupported) return linked;
    }
  }
  return CopiedFile(path, source.get(), size, progress);
}

absl::Status StoreWriter::PutManifest(const Name& name, const Manifest& manifest) {
  return PutManifestText(name, WriteManifest(manifest));
}

/// One program at a time says what the store's manifests name: who adds one sees that its blobs are
/// there, who removes blobs sees the manifests that name them. Held until the file is closed. Where
/// the file system has no such locks, none is held.
Fd StoreWriter::Turn() const {
  Fd blobs(open(Cat(store_, "/blobs").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  while (blobs.get() >= 0 && flock(blobs.get(), LOCK_EX) != 0 && errno == EINTR) {
  }
  return blobs;
}

absl::Status StoreWriter::RemoveManifest(const Name& name) {
  const Fd turn = Turn();
  std::string path = ManifestFile(store_, name);
  if (unlink(path.c_str()) != 0) return StoreError(path, "cannot be removed", errno);
  path = DirectoryOf(path);
  for (int level = 0; level < 4; ++level) {  // model, namespace, host, manifests
    if (rmdir(path.c_str()) != 0) break;
    path = DirectoryOf(path);
  }
  return SyncDirectory(path);
}

absl::Status StoreWriter::PutManifestText(const Name& name, std::string_view text) {
  const std::string path = ManifestFile(store_, name);
  SMELT_ASSIGN_OR_RETURN(const Manifest manifest, ReadManifest(text, path));
  SMELT_ASSIGN_OR_RETURN(Staged staged, Stage(0));
  SMELT_RETURN_IF_ERROR(Write(staged.fd(), staged.path(), std::as_bytes(std::span(text))));
  const Fd turn = Turn();
  SMELT_RETURN_IF_ERROR(HasBlob(manifest.config.digest));
  for (const Layer& layer : manifest.layers) SMELT_RETURN_IF_ERROR(HasBlob(layer.digest));
  SMELT_RETURN_IF_ERROR(MakeFolders(DirectoryOf(path)));
  SMELT_RETURN_IF_ERROR(staged.MoveTo(path));
  rmdir(Cat(store_, "/", kStaging).c_str());  // stays while another import uses it
  return absl::OkStatus();
}

absl::Status StoreWriter::HasBlob(const std::string& digest) const {
  const std::string path = BlobFile(store_, digest);
  if (path.empty() || access(path.c_str(), F_OK) == 0) return absl::OkStatus();
  return Error(ErrorCode::kNotFound, Escape(path),
               ": vanished from the store, where another program removes files; try again");
}

void StoreWriter::RemoveUnused(const Manifest& old) {
  const Fd turn = Turn();
  std::set<std::string> unused;
  for (const Layer& layer : old.layers) unused.insert(BlobFile(store_, layer.digest));
  unused.insert(BlobFile(store_, old.config.digest));
  for (const Name& name : ListNames(store_)) {
    const absl::StatusOr<Manifest> manifest = LoadManifest(store_, name);
    if (!manifest.ok()) return;
    for (const Layer& layer : manifest->layers) unused.erase(BlobFile(store_, layer.digest));
    unused.erase(BlobFile(store_, manifest->config.digest));
  }
  for (const std::string& path : unused) {
    if (path.empty() || unlink(path.c_str()) != 0) continue;
    // Ollama's cache of the blob's keys.
    unlink(Cat(store_, "/metadata/", path.substr(path.rfind('/') + 1), ".json").c_str());
  }
}

}  // namespace smelt::ollama
