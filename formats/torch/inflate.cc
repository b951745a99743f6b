#include "formats/torch/inflate.h"

#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <mutex>
#include <new>
#include <span>
#include <utility>
#include <vector>

#include "lib/base/fd.h"
#include "lib/base/mapped_file.h"
#include "lib/base/status.h"
#include "lib/base/system_error.h"
#include "lib/base/temporary_file.h"

namespace smelt {
namespace {

constexpr size_t kChunk = 256 << 10;

/// A file without a name. Its identity is the archive's and the member's: the copy itself is a new
/// one every time.
class TemporaryStorage : public Storage {
 public:
  TemporaryStorage(Fd fd, std::string name, std::string identity, uint64_t size)
      : fd_(std::move(fd)), name_(std::move(name)), identity_(std::move(identity)), size_(size) {}

  const std::string& name() const override { return name_; }
  uint64_t size() const override { return size_; }
  std::string identity() const override { return identity_; }

  absl::Status ReadAt(uint64_t offset, std::span<std::byte> out) const override {
    if (offset > size_ || out.size() > size_ - offset) {
      return Error(ErrorCode::kInvalidInput, Escape(name_), ": ", out.size(), " bytes at offset ",
                   offset, " lie past the end of the member (", size_, " bytes)");
    }
    const Transfer read = smelt::ReadAt(fd_.get(), offset, out);
    if (read.bytes == out.size()) return absl::OkStatus();
    return SystemError(name_, "reading its temporary copy failed",
                       read.error != 0 ? read.error : EIO);
  }

  absl::StatusOr<std::span<const std::byte>> Map() const override {
    if (size_ == 0) return std::span<const std::byte>();
    const std::lock_guard lock(mutex_);
    if (mapping_ == nullptr) {
      SMELT_ASSIGN_OR_RETURN(mapping_, MappedFile::Map(fd_.get(), size_, name_));
    }
    return mapping_->bytes();
  }

 private:
  Fd fd_;
  std::string name_, identity_;
  uint64_t size_;
  mutable std::mutex mutex_;
  mutable std::unique_ptr<MappedFile> mapping_;
};

absl::Status Write(int fd, std::string_view member, std::span<const unsigned char> bytes) {
  const int error = WriteAll(fd, std::as_bytes(bytes)).error;
  if (error == 0) return absl::OkStatus();
  return SystemError(member, "cannot be inflated into a temporary file", error,
                     "; set TMPDIR to a folder with space");
}

using Sink = std::function<absl::Status(std::span<const unsigned char>)>;

absl::Status Damaged(const DeflatedMember& member, std::string_view what) {
  return Error(ErrorCode::kInvalidInput, Escape(member.name), ": deflated member ", what);
}

struct InflateStream : z_stream {
  InflateStream() : z_stream{} {
    if (inflateInit2(this, -MAX_WBITS) != Z_OK) throw std::bad_alloc();
  }
  ~InflateStream() { inflateEnd(this); }
};

/// Runs the stream through `sink`.
absl::Status Inflate(z_stream& stream, const Storage& archive, const DeflatedMember& member,
                     const Sink& sink) {
  std::vector<unsigned char> in(std::min<uint64_t>(kChunk, member.compressed_size)), out(kChunk);
  uint64_t read = 0, written = 0;
  uLong checksum = crc32(0, nullptr, 0);
  int state = Z_OK;
  while (state != Z_STREAM_END) {
    if (stream.avail_in == 0 && read < member.compressed_size) {
      const uint64_t n = std::min<uint64_t>(in.size(), member.compressed_size - read);
      SMELT_RETURN_IF_ERROR(
          archive.ReadAt(member.offset + read, std::as_writable_bytes(std::span(in.data(), n))));
      read += n;
      stream.next_in = in.data();
      stream.avail_in = static_cast<uInt>(n);
    }
    stream.next_out = out.data();
    stream.avail_out = static_cast<uInt>(out.size());
    state = inflate(&stream, Z_NO_FLUSH);
    if (state == Z_MEM_ERROR) throw std::bad_alloc();
    const size_t made = out.size() - stream.avail_out;
    if ((state != Z_OK && state != Z_STREAM_END && state != Z_BUF_ERROR)) {
      return Damaged(member,
                     Cat("has an invalid compressed stream at byte ", read - stream.avail_in));
    }
    if (made == 0 && state != Z_STREAM_END && read == member.compressed_size) {
      return Damaged(member, "ends inside its compressed stream");
    }
    if (made > member.size - written) {
      return Damaged(member, Cat("inflates to more than the size of ", member.size,
                                 " bytes that the directory gives"));
    }
    checksum = crc32(checksum, out.data(), static_cast<uInt>(made));
    SMELT_RETURN_IF_ERROR(sink(std::span(out.data(), made)));
    written += made;
  }
  if (written != member.size) {
    return Damaged(
        member, Cat("inflates to ", written, " bytes; its size in the directory is ", member.size));
  }
  if (read != member.compressed_size || stream.avail_in != 0) {
    return Damaged(member, "has bytes after its compressed stream");
  }
  if (checksum != member.crc32) return Damaged(member, "has a wrong CRC-32: it is damaged");
  return absl::OkStatus();
}

absl::Status InflateTo(const Storage& archive, const DeflatedMember& member, const Sink& sink) {
  if (!CanInflateTo(member.compressed_size, member.size)) {
    return Damaged(member, Cat("claims a size of ", member.size, " bytes, more than its ",
                               member.compressed_size, " compressed bytes can hold"));
  }
  InflateStream stream;
  return Inflate(stream, archive, member, sink);
}

}  // namespace

bool CanInflateTo(uint64_t compressed_size, uint64_t size) {
  return size / 1032 <= compressed_size;
}

absl::StatusOr<std::shared_ptr<Storage>> InflateToTemporary(const Storage& archive,
                                                            const DeflatedMember& member) {
  SMELT_ASSIGN_OR_RETURN(Fd file, OpenTemporaryFile(member.name));
  const int fd = file.get();
  auto storage = std::make_shared<TemporaryStorage>(
      std::move(file), member.name, Cat(archive.identity(), "+", member.offset, ":", member.size),
      member.size);
  SMELT_RETURN_IF_ERROR(InflateTo(archive, member, [&](std::span<const unsigned char> bytes) {
    return Write(fd, member.name, bytes);
  }));
  return storage;
}

absl::StatusOr<std::string> InflateToMemory(const Storage& archive, const DeflatedMember& member) {
  std::string text;
  SMELT_RETURN_IF_ERROR(InflateTo(archive, member, [&](std::span<const unsigned char> bytes) {
    text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return absl::OkStatus();
  }));
  return text;
}

}  // namespace smelt
