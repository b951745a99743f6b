// An open file that somebody owns, read and written past interruptions.
#pragma once

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

struct stat;

namespace smelt {

/// Closes its file descriptor when it goes; negative: none.
class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

/// Another text where the file is another one, or its content may be.
std::string IdentityOf(const struct stat& info);

/// How far a read or write came, and the errno that ended it (0: none).
struct Transfer {
  size_t bytes = 0;
  int error = 0;
};
/// Fills `out` from `offset` on; fewer bytes without an error: the file ends there.
Transfer ReadAt(int fd, uint64_t offset, std::span<std::byte> out);
/// Writes all of `bytes` where the file stands.
Transfer WriteAll(int fd, std::span<const std::byte> bytes);

}  // namespace smelt
