#include "lib/jobs/anonymous_memory.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>

namespace smelt {

uint64_t AnonymousBytes() {
  static const int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  static const uint64_t page = static_cast<uint64_t>(sysconf(_SC_PAGE_SIZE));
  char text[128];
  const ssize_t n = fd < 0 ? -1 : pread(fd, text, sizeof(text) - 1, 0);
  if (n <= 0) return 0;
  text[n] = 0;
  unsigned long long total = 0, resident = 0,
                     shared = 0;  // pages; shared = of files and shared memory
  if (std::sscanf(text, "%llu %llu %llu", &total, &resident, &shared) != 3 || shared > resident)
    return 0;
  return (resident - shared) * page;
}

void MemoryPeak::Sample() {
  const uint64_t now = AnonymousBytes();
  uint64_t peak = peak_.load(std::memory_order_relaxed);
  while (now > peak && !peak_.compare_exchange_weak(peak, now, std::memory_order_relaxed)) {
  }
}

}  // namespace smelt
