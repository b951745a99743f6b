#include "lib/base/storage.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <mutex>

#include "lib/base/fd.h"
#include "lib/base/mapped_file.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

std::string SystemError(int error) { return std::strerror(error); }

absl::Status CheckRange(const Storage& storage, uint64_t offset, uint64_t length) {
  if (offset > storage.size() || length > storage.size() - offset) {
    return Error(ErrorCode::kInvalidInput, Escape(storage.name()), ": ", length,
                 " bytes at offset ", offset, " lie past the end of file (", storage.size(),
                 " bytes)");
  }
  return absl::OkStatus();
}

class FileStorage : public Storage {
 public:
  FileStorage(std::string name, Fd fd, const struct stat& info)
      : name_(std::move(name)), fd_(std::move(fd)), size_(static_cast<uint64_t>(info.st_size)) {
    identity_ = Cat(size_, ":", info.st_mtim.tv_sec, ".", info.st_mtim.tv_nsec, ":", info.st_dev,
                    ":", info.st_ino);
  }

  const std::string& name() const override { return name_; }
  uint64_t size() const override { return size_; }
  std::string identity() const override { return identity_; }

  absl::Status ReadAt(uint64_t offset, std::span<std::byte> out) const override {
    SMELT_RETURN_IF_ERROR(CheckRange(*this, offset, out.size()));
    size_t done = 0;
    while (done < out.size()) {
      const ssize_t n =
          pread(fd_.get(), out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) {
        return Error(ErrorCode::kIo, Escape(name_), ": reading at offset ", offset + done,
                     " failed: ", SystemError(errno));
      }
      if (n == 0) {
        return Error(ErrorCode::kIo, Escape(name_), ": the file became shorter while it was read (",
                     offset + done, " of ", size_, " bytes left)");
      }
      done += static_cast<size_t>(n);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::span<const std::byte>> Map() const override {
    if (size_ == 0) return std::span<const std::byte>();
    const std::lock_guard lock(mutex_);
    if (mapping_ == nullptr) {
      SMELT_ASSIGN_OR_RETURN(mapping_, MappedFile::Map(fd_.get(), size_, name_));
    }
    return mapping_->bytes();
  }

  void WillNeed(uint64_t offset, uint64_t length) const override {
    posix_fadvise(fd_.get(), static_cast<off_t>(offset), static_cast<off_t>(length),
                  POSIX_FADV_WILLNEED);
  }
  void DontNeed(uint64_t offset, uint64_t length) const override {
    posix_fadvise(fd_.get(), static_cast<off_t>(offset), static_cast<off_t>(length),
                  POSIX_FADV_DONTNEED);
  }

 private:
  std::string name_;
  std::string identity_;
  Fd fd_;
  uint64_t size_;
  mutable std::mutex mutex_;
  mutable std::unique_ptr<MappedFile> mapping_;
};

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
  void WillNeed(uint64_t offset, uint64_t length) const override {
    whole_->WillNeed(offset_ + offset, length);
  }
  void DontNeed(uint64_t offset, uint64_t length) const override {
    whole_->DontNeed(offset_ + offset, length);
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
    const ErrorCode code =
        errno == ENOENT || errno == ENOTDIR ? ErrorCode::kNotFound : ErrorCode::kIo;
    struct stat link {};
    if (code == ErrorCode::kNotFound && lstat(path.c_str(), &link) == 0)
      return Error(code, Escape(path), ": is a symbolic link that leads to no file");
    return Error(code, Escape(path), ": cannot be opened: ", SystemError(errno));
  }
  struct stat info {};
  if (fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    const bool folder = S_ISDIR(info.st_mode);
    return Error(ErrorCode::kInvalidInput, Escape(path), ": is ",
                 folder ? "a folder" : "no regular file", ", expected a file");
  }
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

absl::StatusOr<std::string> ReadTextFile(const std::string& path, uint64_t limit) {
  SMELT_ASSIGN_OR_RETURN(const std::shared_ptr<Storage> file, OpenFile(path));
  if (file->size() > limit) {
    return Error(ErrorCode::kInvalidInput, Escape(path), ": has ", file->size(),
                 " bytes, more than the ", limit, " that such a file may have");
  }
  std::string text(file->size(), '\0');
  SMELT_RETURN_IF_ERROR(file->ReadAt(0, std::as_writable_bytes(std::span(text))));
  return text;
}

}  // namespace smelt
