#include "formats/ollama/store_writer.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <span>
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

namespace smelt::ollama {
namespace {

constexpr size_t kChunk = 4 << 20;

class FromFile : public BlobStream {
 public:
  FromFile(int fd, const std::string& path) : fd_(fd), path_(path) {}
  absl::StatusOr<size_t> Read(std::span<std::byte> out) override {
    const Transfer read = ReadAt(fd_, at_, out);
    if (read.error != 0) return StoreError(path_, "reading failed", read.error);
    at_ += read.bytes;
    return read.bytes;
  }
  absl::Status Skip(uint64_t bytes) override {
    at_ += bytes;
    return absl::OkStatus();
  }

 private:
  int fd_;
  const std::string& path_;
  uint64_t at_ = 0;
};

absl::StatusOr<Fd> OpenForReading(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return StoreError(path, "cannot be opened", errno);
  return Fd(fd);
}

/// SHA-256 of the first `size` bytes of `fd`; they are also written to `copy`, where there is one.
absl::StatusOr<std::string> HashFile(int fd, const std::string& path, uint64_t size,
                                     StagedFile* copy, const BlobProgress& progress) {
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
    if (copy != nullptr) SMELT_RETURN_IF_ERROR(copy->Write(bytes));
    done += bytes.size();
    if (progress) SMELT_RETURN_IF_ERROR(progress(done, size));
  }
  return sha.FinishHex();
}

}  // namespace

absl::StatusOr<std::string> HashOf(const std::string& path, const BlobProgress& progress) {
  SMELT_ASSIGN_OR_RETURN(const Fd file, OpenForReading(path));
  struct stat info;
  if (fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return Error(ErrorCode::kUsage, Escape(path), " is no regular file");
  }
  return HashFile(file.get(), path, static_cast<uint64_t>(info.st_size), nullptr, progress);
}

absl::StatusOr<StoreWriter> StoreWriter::Open(const std::string& store) {
  SMELT_ASSIGN_OR_RETURN(Staging staging, Staging::Open(store));
  SMELT_RETURN_IF_ERROR(staging.MakeFolders(Cat(store, "/blobs")));
  return StoreWriter(std::move(staging));
}

/// The blob of that content, where it is in the store and whole.
std::optional<AddedBlob> StoreWriter::Present(const std::string& hex, uint64_t size) const {
  const std::string path = Cat(store(), "/blobs/sha256-", hex);
  const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));  // a pipe would wait
  struct stat info;
  if (fd.get() < 0 || fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) return std::nullopt;
  if (static_cast<uint64_t>(info.st_size) != size) return std::nullopt;
  const absl::StatusOr<std::string> found = HashFile(fd.get(), path, size, nullptr, nullptr);
  if (!found.ok() || *found != hex) return std::nullopt;
  utimensat(AT_FDCWD, path.c_str(), nullptr,
            0);  // fails on somebody else's file: nothing to be done
  return AddedBlob{Cat("sha256:", hex), path, "present", size};
}

bool StoreWriter::HasBlobOfSize(uint64_t size) const {
  const absl::StatusOr<std::vector<std::string>> names = ListFolder(store() + "/blobs");
  return names.ok() && std::any_of(names->begin(), names->end(), [&](const std::string& name) {
           struct stat info;
           return stat(Cat(store(), "/blobs/", name).c_str(), &info) == 0 &&
                  S_ISREG(info.st_mode) && static_cast<uint64_t>(info.st_size) == size;
         });
}

absl::StatusOr<AddedBlob> StoreWriter::Place(StagedFile& staged, const std::string& hex,
                                             std::string_view how, bool unlinked) {
  struct stat info;
  if (fstat(staged.fd(), &info) != 0) return StoreError(staged.path(), "cannot be examined", errno);
  AddedBlob blob{.digest = Cat("sha256:", hex),
                 .path = Cat(store(), "/blobs/sha256-", hex),
                 .how = std::string(how),
                 .size = static_cast<uint64_t>(info.st_size)};
  struct stat there;
  const bool linked =
      unlinked && stat(blob.path.c_str(), &there) == 0 && there.st_nlink > 1;  // with a user's file
  if (!linked) {
    if (std::optional<AddedBlob> present = Present(hex, blob.size)) return *std::move(present);
  }
  SMELT_RETURN_IF_ERROR(GoOn());
  SMELT_RETURN_IF_ERROR(
      staging_.MakeFolders(DirectoryOf(blob.path)));  // another import may have ended
  SMELT_RETURN_IF_ERROR(staged.MoveTo(blob.path));
  return blob;
}

absl::StatusOr<AddedBlob> StoreWriter::AddText(std::string_view content) {
  SMELT_RETURN_IF_ERROR(GoOn());
  const auto bytes = std::as_bytes(std::span(content));
  const std::string hex = Sha256Hex(bytes);
  if (std::optional<AddedBlob> present = Present(hex, content.size())) return *std::move(present);
  SMELT_ASSIGN_OR_RETURN(StagedFile staged, staging_.New(content.size()));
  SMELT_RETURN_IF_ERROR(staged.Write(bytes));
  return Place(staged, hex, "copy");
}

absl::StatusOr<AddedBlob> StoreWriter::AddStream(const std::string& hex, uint64_t size,
                                                 BlobStream& stream, const BlobProgress& progress) {
  if (std::optional<AddedBlob> present = Present(hex, size)) {
    SMELT_RETURN_IF_ERROR(stream.Skip(size));
    return *std::move(present);
  }
  SMELT_ASSIGN_OR_RETURN(StagedFile staged, staging_.Named(hex, size));
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
absl::StatusOr<uint64_t> StoreWriter::Fill(StagedFile& staged, uint64_t size, BlobStream& stream,
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
    SMELT_RETURN_IF_ERROR(staged.Write(piece));
    done += got;
    if (progress) SMELT_RETURN_IF_ERROR(progress(done, size));
  }
  return begun;
}

absl::StatusOr<AddedBlob> StoreWriter::ClonedFile(int source, uint64_t size,
                                                  const BlobProgress& progress) {
  SMELT_ASSIGN_OR_RETURN(StagedFile staged, staging_.New(0));
  if (ioctl(staged.fd(), FICLONE, source) != 0) {
    return Error(ErrorCode::kUnsupported, "this file system cannot share the blocks of two files");
  }
  SMELT_ASSIGN_OR_RETURN(const std::string hex,
                         HashFile(staged.fd(), staged.path(), size, nullptr, progress));
  return Place(staged, hex, "reflink");
}

bool StoreWriter::MayLink(int source) const {
  struct stat info, blobs;
  if (fstat(source, &info) != 0 || stat(Cat(store(), "/blobs").c_str(), &blobs) != 0) return false;
  if (info.st_dev != blobs.st_dev)
    return false;  // found out before the file is read for its digest
  const bool readable_by_all = (info.st_mode & 0444) == 0444;
  const bool writable_by_others = (info.st_mode & 0022) != 0;
  return readable_by_all && !writable_by_others && info.st_uid == staging_.owner();
}

absl::StatusOr<AddedBlob> StoreWriter::LinkedFile(int source, uint64_t size,
                                                  const std::string& hex) {
  AddedBlob blob{.digest = Cat("sha256:", hex),
                 .path = Cat(store(), "/blobs/sha256-", hex),
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
                                                  uint64_t size, const BlobProgress& progress,
                                                  bool unlinked) {
  SMELT_ASSIGN_OR_RETURN(StagedFile staged, staging_.New(size));
  SMELT_ASSIGN_OR_RETURN(const std::string hex, HashFile(source, path, size, &staged, progress));
  return Place(staged, hex, "copy", unlinked);
}

absl::StatusOr<AddedBlob> StoreWriter::Adopt(const std::string& path, const FileHash& known,
                                             const BlobProgress& progress) {
  SMELT_ASSIGN_OR_RETURN(StagedFile staged, staging_.Finished(path));
  struct stat info;
  if (fstat(staged.fd(), &info) != 0) return StoreError(path, "cannot be examined", errno);
  std::string hex = known.sha256;
  // Another import of the same name may have put its own file there.
  if (hex.empty() || known.identity != IdentityOf(info)) {
    SMELT_ASSIGN_OR_RETURN(
        hex, HashFile(staged.fd(), path, static_cast<uint64_t>(info.st_size), nullptr, progress));
  }
  return Place(staged, hex, "conversion");
}

absl::StatusOr<AddedBlob> StoreWriter::Keep(const Layer& layer) {
  AddedBlob blob{.digest = layer.digest,
                 .path = BlobFile(store(), layer.digest),
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
                                               const BlobProgress& progress, bool copy,
                                               std::string_view digest) {
  SMELT_ASSIGN_OR_RETURN(const Fd source, OpenForReading(path));
  struct stat info;
  if (fstat(source.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return Error(ErrorCode::kUsage, Escape(path), " is no regular file");
  }
  const uint64_t size = static_cast<uint64_t>(info.st_size);

  if (copy) return CopiedFile(path, source.get(), size, progress, /*unlinked=*/true);
  absl::StatusOr<AddedBlob> cloned = ClonedFile(source.get(), size, progress);
  if (cloned.ok() || CodeOf(cloned.status()) != ErrorCode::kUnsupported) return cloned;

  const bool may_link = MayLink(source.get());
  struct stat now;
  if (may_link || HasBlobOfSize(size)) {
    SMELT_ASSIGN_OR_RETURN(const std::string hex,
                           HashFile(source.get(), path, size, nullptr, progress));
    if (fstat(source.get(), &now) != 0 || IdentityOf(now) != IdentityOf(info)) {
      return Error(ErrorCode::kInvalidInput, Escape(path),
                   ": was changed while it was read; try again");
    }
    if (std::optional<AddedBlob> present = Present(hex, size)) return *std::move(present);
    if (may_link) {
      absl::StatusOr<AddedBlob> linked = LinkedFile(source.get(), size, hex);
      if (linked.ok() || CodeOf(linked.status()) != ErrorCode::kUnsupported) return linked;
    }
  }
  if (const std::string blob = BlobName(digest); !blob.empty()) {
    FromFile stream(source.get(), path);
    return AddStream(blob.substr(blob.find('-') + 1), size, stream, progress);
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
  Fd blobs(open(Cat(store(), "/blobs").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  while (blobs.get() >= 0 && flock(blobs.get(), LOCK_EX) != 0 && errno == EINTR) {
  }
  return blobs;
}

absl::Status StoreWriter::RemoveManifest(const Name& name) {
  const Fd turn = Turn();
  std::string path = ManifestFile(store(), name);
  if (unlink(path.c_str()) != 0) return StoreError(path, "cannot be removed", errno);
  path = DirectoryOf(path);
  for (int level = 0; level < 4; ++level) {  // model, namespace, host, manifests
    if (rmdir(path.c_str()) != 0) break;
    path = DirectoryOf(path);
  }
  return SyncDirectory(path);
}

absl::Status StoreWriter::PutManifestText(const Name& name, std::string_view text) {
  const std::string path = ManifestFile(store(), name);
  SMELT_ASSIGN_OR_RETURN(const Manifest manifest, ReadManifest(text, path));
  SMELT_ASSIGN_OR_RETURN(StagedFile staged, staging_.New(0));
  SMELT_RETURN_IF_ERROR(staged.Write(std::as_bytes(std::span(text))));
  const Fd turn = Turn();
  SMELT_RETURN_IF_ERROR(HasBlob(manifest.config.digest));
  for (const Layer& layer : manifest.layers) SMELT_RETURN_IF_ERROR(HasBlob(layer.digest));
  SMELT_RETURN_IF_ERROR(staging_.MakeFolders(DirectoryOf(path)));
  SMELT_RETURN_IF_ERROR(staged.MoveTo(path));
  staging_.RemoveFolder();
  return absl::OkStatus();
}

absl::Status StoreWriter::HasBlob(const std::string& digest) const {
  const std::string path = BlobFile(store(), digest);
  if (path.empty() || access(path.c_str(), F_OK) == 0) return absl::OkStatus();
  return Error(ErrorCode::kNotFound, Escape(path),
               ": vanished from the store, where another program removes files; try again");
}

void StoreWriter::RemoveUnused(const Manifest& old) {
  const Fd turn = Turn();
  std::set<std::string> unused;
  for (const Layer& layer : old.layers) unused.insert(BlobFile(store(), layer.digest));
  unused.insert(BlobFile(store(), old.config.digest));
  const Manifests manifests = ListManifests(store());
  if (!manifests.unreadable.empty()) return;
  for (const Name& name : manifests.names) {
    const absl::StatusOr<Manifest> manifest = LoadManifest(store(), name);
    if (!manifest.ok()) return;
    for (const Layer& layer : manifest->layers) unused.erase(BlobFile(store(), layer.digest));
    unused.erase(BlobFile(store(), manifest->config.digest));
  }
  for (const std::string& path : unused) {
    if (path.empty() || unlink(path.c_str()) != 0) continue;
    // Ollama's cache of the blob's keys.
    unlink(Cat(store(), "/metadata/", path.substr(path.rfind('/') + 1), ".json").c_str());
  }
}

}  // namespace smelt::ollama
