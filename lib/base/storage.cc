#include "lib/base/storage.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <mutex>

#include "lib/base/fd.h"
#include "lib/base/mapped_file.h"
#include "lib/base/stand_in.h"
#include "lib/base/status.h"
#include "lib/base/system_error.h"
#include "lib/base/unfinished.h"

namespace smelt {
namespace {

absl::Status CheckRange(const Storage& storage, uint64_t offset, uint64_t length) {
  if (offset > storage.size() || length > storage.size() - offset) {
    return Error(ErrorCode::kInvalidInput, Escape(storage.name()), ": ", length,
                 " bytes at offset ", offset, " lie past the end of file (", storage.size(),
                 " bytes)");
  }
  return absl::OkStatus();
}

class FileStorage;

/// The storages whose files are open: of a model in hundreds of shards only some are at a time, so
/// that the limit of the system is not met. The one opened first is closed for a new one.
class OpenFiles {
 public:
  static OpenFiles& Get() {
    static OpenFiles* const files = new OpenFiles;
    return *files;
  }
  void Add(const FileStorage* storage);
  void Remove(const FileStorage* storage) {
    const std::lock_guard lock(mutex_);
    std::erase(open_, storage);
  }

 private:
  /// A quarter of what the process may have: outputs, folders and other libraries need some too.
  static size_t Limit() {
    struct rlimit limit {};
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 64;
    return static_cast<size_t>(std::clamp<rlim_t>(limit.rlim_cur / 4, 2, 1024));
  }

  const size_t limit_ = Limit();
  std::mutex mutex_;
  std::deque<const FileStorage*> open_;  // the one opened first in front
};

class FileStorage : public Storage {
 public:
  FileStorage(std::string name, Fd fd, const struct stat& info)
      : name_(std::move(name)),
        identity_(IdentityOf(info)),
        size_(static_cast<uint64_t>(info.st_size)),
        fd_(std::make_shared<Fd>(std::move(fd))) {
    OpenFiles::Get().Add(this);
  }
  ~FileStorage() override {
    OpenFiles::Get().Remove(this);
    mapping_.reset();
  }

  const std::string& name() const override { return name_; }
  uint64_t size() const override { return size_; }
  std::string identity() const override { return identity_; }

  absl::Status ReadAt(uint64_t offset, std::span<std::byte> out) const override {
    SMELT_RETURN_IF_ERROR(CheckRange(*this, offset, out.size()));
    if (const std::byte* mapped = MappedAndClosed()) {
      std::copy_n(mapped + offset, out.size(), out.data());
      return absl::OkStatus();
    }
    SMELT_ASSIGN_OR_RETURN(const std::shared_ptr<Fd> fd, Acquire());
    const Transfer read = smelt::ReadAt(fd->get(), offset, out);
    if (read.error != 0) {
      return SystemError(name_, Cat("reading at offset ", offset + read.bytes, " failed"),
                         read.error);
    }
    if (read.bytes < out.size()) {
      return Error(ErrorCode::kIo, Escape(name_), ": the file became shorter while it was read (",
                   offset + read.bytes, " of ", size_, " bytes left)");
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::span<const std::byte>> Map() const override {
    if (size_ == 0) return std::span<const std::byte>();
    if (const std::byte* mapped = MappedAndClosed()) return std::span(mapped, size_);
    SMELT_ASSIGN_OR_RETURN(const std::shared_ptr<Fd> fd, Acquire());
    const std::lock_guard lock(mutex_);
    if (mapping_ == nullptr) {
      SMELT_ASSIGN_OR_RETURN(mapping_, MappedFile::Map(fd->get(), size_, name_, true));
    }
    return mapping_->bytes();
  }

  void DropPages(uint64_t offset, uint64_t bytes) const override {
    std::shared_ptr<Fd> fd;
    {
      const std::lock_guard lock(mutex_);
      fd = fd_;
      if (mapping_ != nullptr) mapping_->DropPages(offset, bytes);
    }
    if (fd != nullptr) {
      posix_fadvise(fd->get(), static_cast<off_t>(offset), static_cast<off_t>(bytes),
                    POSIX_FADV_DONTNEED);
    }
  }

  /// Closes the file as soon as nobody reads from it; the next read opens it again.
  void Close() const {
    const std::lock_guard lock(mutex_);
    fd_.reset();
  }

 private:
  /// The first byte of a file that is mapped but not open: it need not be opened again.
  const std::byte* MappedAndClosed() const {
    const std::lock_guard lock(mutex_);
    return fd_ == nullptr && mapping_ != nullptr ? mapping_->bytes().data() : nullptr;
  }

  absl::StatusOr<std::shared_ptr<Fd>> Acquire() const {
    {
      const std::lock_guard lock(mutex_);
      if (fd_ != nullptr) return fd_;
    }
    auto opened = std::make_shared<Fd>(open(name_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (opened->get() < 0) {
      return SystemError(name_, "cannot be opened again", errno);
    }
    struct stat info {};
    if (fstat(opened->get(), &info) != 0 || IdentityOf(info) != identity_) {
      return Error(ErrorCode::kIo, Escape(name_), ": the file was changed while it was read");
    }
    {
      const std::lock_guard lock(mutex_);
      if (fd_ != nullptr) return fd_;  // another thread was faster
      fd_ = opened;
    }
    OpenFiles::Get().Add(this);
    return opened;
  }

  const std::string name_;
  const std::string identity_;
  const uint64_t size_;
  mutable std::mutex mutex_;
  mutable std::shared_ptr<Fd> fd_;
  mutable std::unique_ptr<MappedFile> mapping_;
};

void OpenFiles::Add(const FileStorage* storage) {
  const std::lock_guard lock(mutex_);
  std::erase(open_, storage);  // closed by this list, opened again
  open_.push_back(storage);
  while (open_.size() > limit_) {
    open_.front()->Close();
    open_.pop_front();
  }
}

class BytesStorage : public Storage {
 public:
  BytesStorage(std::string name, std::vector<std::byte> bytes)
      : name_(std::move(name)), bytes_(std::move(bytes)) {}
  const std::string& name() const override { return name_; }
  uint64_t size() const override { return bytes_.size(); }
  std::string identity() const override { return Cat("memory:", bytes_.size()); }
  absl::Status ReadAt(uint64_t offset, std::span<std::byte> out) const override {
    SMELT_RETURN_IF_ERROR(CheckRange(*this, offset, out.size()));
    if (!out.empty()) std::memcpy(out.data(), bytes_.data() + offset, out.size());
    return absl::OkStatus();
  }
  absl::StatusOr<std::span<const std::byte>> Map() const override {
    return std::span<const std::byte>(bytes_);
  }

 private:
  std::string name_;
  std::vector<std::byte> bytes_;
};

class WindowStorage : public Storage {
 public:
  WindowStorage(std::shared_ptr<Storage> whole, std::string name, uint64_t offset, uint64_t size)
      : whole_(std::move(whole)), name_(std::move(name)), offset_(offset), size_(size) {}
  const std::string& name() const override { return name_; }
  uint64_t size() const override { return size_; }
  std::string identity() const override {
    return Cat(whole_->identity(), "+", offset_, ":", size_);
  }
  absl::Status ReadAt(uint64_t offset, std::span<std::byte> out) const override {
    SMELT_RETURN_IF_ERROR(CheckRange(*this, offset, out.size()));
    return whole_->ReadAt(offset_ + offset, out);
  }
  absl::StatusOr<std::span<const std::byte>> Map() const override {
    SMELT_ASSIGN_OR_RETURN(const std::span<const std::byte> all, whole_->Map());
    return all.subspan(offset_, size_);
  }
  void DropPages(uint64_t offset, uint64_t bytes) const override {
    whole_->DropPages(offset_ + offset, bytes);
  }

 private:
  std::shared_ptr<Storage> whole_;
  std::string name_;
  uint64_t offset_, size_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<Storage>> OpenFile(const std::string& path) {
  // O_NONBLOCK: opening a fifo must not wait for a writer before we can refuse it.
  Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0) {
    const int error = errno;
    const ErrorCode code =
        error == ENOENT || error == ENOTDIR ? ErrorCode::kNotFound : ErrorCode::kIo;
    struct stat link {};
    if (code == ErrorCode::kNotFound && lstat(path.c_str(), &link) == 0)
      return Error(code, Escape(path), ": is a symbolic link that leads to no file");
    if (const std::string why = UnfinishedBeside(path, false);
        code == ErrorCode::kNotFound && !why.empty())
      return Error(code, Escape(path), ": is not there yet: ", why);
    return Error(code, Escape(path), ": cannot be opened: ", SystemReason(error));
  }
  struct stat info {};
  if (fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    const bool folder = S_ISDIR(info.st_mode);
    return Error(ErrorCode::kInvalidInput, Escape(path), ": is ",
                 folder ? "a folder" : "no regular file", ", expected a file");
  }
  if (const std::string why = UnfinishedBeside(path, info.st_size > 0); !why.empty())
    return Error(ErrorCode::kInvalidInput, Escape(path), ": ", why);
  return std::make_shared<FileStorage>(path, std::move(fd), info);
}

std::shared_ptr<Storage> MemoryStorage(std::string name, std::vector<std::byte> bytes) {
  return std::make_shared<BytesStorage>(std::move(name), std::move(bytes));
}

absl::StatusOr<std::shared_ptr<Storage>> SubStorage(std::shared_ptr<Storage> whole,
                                                    std::string name, uint64_t offset,
                                                    uint64_t size) {
  SMELT_RETURN_IF_ERROR(CheckRange(*whole, offset, size));
  return std::make_shared<WindowStorage>(std::move(whole), std::move(name), offset, size);
}

absl::StatusOr<std::string> ReadStart(const Storage& storage, uint64_t limit) {
  std::string start(std::min(storage.size(), limit), '\0');
  SMELT_RETURN_IF_ERROR(storage.ReadAt(0, std::as_writable_bytes(std::span(start))));
  return start;
}

absl::StatusOr<std::string> ReadTextFile(const std::string& path, uint64_t limit) {
  SMELT_ASSIGN_OR_RETURN(const std::shared_ptr<Storage> file, OpenFile(path));
  if (file->size() > limit) {
    return Error(ErrorCode::kInvalidInput, Escape(path), ": has ", file->size(),
                 " bytes, more than the ", limit, " that such a file may have");
  }
  std::string text(file->size(), '\0');
  SMELT_RETURN_IF_ERROR(file->ReadAt(0, std::as_writable_bytes(std::span(text))));
  SMELT_RETURN_IF_ERROR(RefusePointer(path, text));
  return text;
}

}  // namespace smelt
