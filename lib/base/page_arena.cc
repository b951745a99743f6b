#include "lib/base/page_arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <new>

namespace smelt {
namespace {

constexpr uint64_t kPage = 2u << 20, kPieceBytes = 32u << 20;

uint64_t RoundUp(uint64_t bytes, uint64_t to) { return (bytes + to - 1) / to * to; }

std::shared_ptr<uint8_t[]> NewPiece(uint64_t bytes) {
  const uint64_t mapped = bytes + kPage;  // it begins with a page
  void* const memory = mmap(nullptr, mapped, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  auto* const first =
      reinterpret_cast<uint8_t*>(RoundUp(reinterpret_cast<uintptr_t>(memory), kPage));
  madvise(first, bytes, MADV_HUGEPAGE);  // a system without has small ones
  return {first, [memory, mapped](uint8_t*) { munmap(memory, mapped); }};
}

}  // namespace

std::shared_ptr<uint8_t[]> PageArena::Allocate(uint64_t bytes) {
  const uint64_t room = RoundUp(bytes, 64);
  if (room > size_ - used_) {
    const uint64_t size = RoundUp(std::max(room, kPieceBytes), kPage);
    piece_ = NewPiece(size);
    size_ = size;
    used_ = 0;
  }
  uint8_t* const part = piece_.get() + used_;
  used_ += room;
  return {piece_, part};
}

}  // namespace smelt
