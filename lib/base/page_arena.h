// Memory for large arrays that are read from end to end, again and again.
#pragma once

#include <cstdint>
#include <memory>

namespace smelt {

/// Hands out parts of pieces of memory whose pages are as large as the system has them (2 MiB where
/// it may): fewer addresses to translate, and processors read ahead no further than a page. Not for
/// several threads at once.
class PageArena {
 public:
  /// Zeros, from a cache line on; large ones are pieces of their own. The piece that it is part of
  /// stays until none of its parts is in use. Throws std::bad_alloc.
  std::shared_ptr<uint8_t[]> Allocate(uint64_t bytes);

 private:
  std::shared_ptr<uint8_t[]> piece_;
  uint64_t size_ = 0, used_ = 0;
};

}  // namespace smelt
