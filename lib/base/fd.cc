#include "lib/base/fd.h"

#include <sys/stat.h>

#include <cerrno>

#include "lib/base/cat.h"

namespace smelt {

std::string IdentityOf(const struct stat& info) {
  return Cat(static_cast<uint64_t>(info.st_size), ":", info.st_mtim.tv_sec, ".",
             info.st_mtim.tv_nsec, ":", info.st_dev, ":", info.st_ino);
}

Transfer ReadAt(int fd, uint64_t offset, std::span<std::byte> out) {
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t n =
        pread(fd, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return {.bytes = done, .error = errno};
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  return {.bytes = done};
}

Transfer WriteAll(int fd, std::span<const std::byte> bytes) {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = write(fd, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return {.bytes = done, .error = errno};
    done += static_cast<size_t>(n);
  }
  return {.bytes = done};
}

}  // namespace smelt
