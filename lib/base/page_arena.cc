#include "lib/base/page_arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <new>

namespace smelt {
namespace {

constexpr uint64_t kPage = 2u << 20, kPieceBytes = 32u << 20;

uint64_t RoundUp(uint64_t bytes, uint64_t to) { return (bytes + to - 1) / to * to; }

// `bytes`, a multiple of a page, from a page on.
std::shared_ptr<uint8_t[]> NewPiece(uint64_t bytes) {
  void* const memory = mmap(nullptr, bytes + kPage, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  auto* const mapped = static_cast<uint8_t*>(memory);
  const uint64_t before =
      RoundUp(reinterpret_cast<uintptr_t>(memory), kPage) - reinterpret_cast<uintptr_t>(memory);
  if (before > 0) munmap(mapped, before);
  if (before < kPage) munmap(mapped + before + bytes, kPage - before);
  uint8_t* const first = mapped + before;
  madvise(first, bytes, MADV_HUGEPAGE);  // a system without has small ones
  return {first, [bytes](uint8_t* piece) { munmap(piece, bytes); }};
}

}  // namespace

std::shared_ptr<uint8_t[]> PageArena::Allocate(uint64_t bytes) {
  const uint64_t room = RoundUp(bytes, 64);
  if (room > kPieceBytes / 4) return NewPiece(RoundUp(room, kPage));
  if (room > size_ - used_) {
    piece_ = NewPiece(kPieceBytes);
    size_ = kPieceBytes;
    used_ = 0;
  }
  uint8_t* const part = piece_.get() + used_;
  used_ += room;
  return {piece_, part};
}

}  // namespace smelt
