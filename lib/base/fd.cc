#include "lib/base/fd.h"

#include <cerrno>

namespace smelt {

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
