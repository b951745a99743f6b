#include "lib/jobs/read_bandwidth.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>

#include "lib/base/page_arena.h"
#include "lib/base/parallel.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

constexpr size_t kWords = 64u << 20;  // of 8 bytes
constexpr size_t kPieceWords = 128 * 1024;
constexpr int kPasses = 5;

uint64_t Sum(const uint64_t* words, size_t count) {
  uint64_t sum[8] = {};
  for (size_t i = 0; i < count; i += 8)
    for (size_t j = 0; j < 8; ++j) sum[j] += words[i + j];
  return sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
}

}  // namespace

absl::StatusOr<double> ReadBandwidth() {
  PageArena arena;
  const std::shared_ptr<uint8_t[]> memory = arena.Allocate(kWords * sizeof(uint64_t));
  uint64_t* const words = reinterpret_cast<uint64_t*>(memory.get());
  std::fill_n(words, kWords, 1);
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    std::atomic<uint64_t> total{0};
    const auto start = std::chrono::steady_clock::now();
    SMELT_RETURN_IF_ERROR(
        ParallelForWorkers(kWords, kPieceWords, [&](uint64_t first, uint64_t last, int) {
          total.fetch_add(Sum(words + first, last - first), std::memory_order_relaxed);
        }));
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    if (total.load() != kWords) return Error(ErrorCode::kInternal, "memory lost what was written");
    best = std::max(best, kWords * sizeof(uint64_t) / seconds.count());
  }
  return best;
}

}  // namespace smelt
