// How much anonymous memory this process holds, and the most that was seen.
#pragma once

#include <atomic>
#include <cstdint>

namespace smelt {

/// RssAnon of this process in bytes (resident pages that are not of files); 0 where the system does
/// not tell.
uint64_t AnonymousBytes();

/// Keeps the largest sample. Thread-safe; Sample costs a microsecond or two.
class MemoryPeak {
 public:
  void Sample();
  uint64_t bytes() const { return peak_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> peak_{0};
};

}  // namespace smelt
