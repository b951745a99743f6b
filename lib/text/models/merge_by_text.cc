#include "lib/text/models/merge_by_text.h"

#include <algorithm>
#include <bit>

namespace smelt {

std::vector<uint32_t> RankScores(const std::vector<float>& scores) {
  // Numbers that are sorted without a look at the scores: above, the score's bits in an order of
  // whole numbers, the best first; below, the id.
  std::vector<uint64_t> order(scores.size());
  for (size_t i = 0; i < scores.size(); ++i) {
    const auto bits = std::bit_cast<uint32_t>(scores[i] + 0.0f);  // one zero
    const uint32_t key = (bits & 0x80000000u) != 0 ? bits : 0x7fffffffu - bits;
    order[i] = static_cast<uint64_t>(key) << 32 | i;
  }
  std::sort(order.begin(), order.end());
  std::vector<uint32_t> ranks(scores.size());
  uint32_t rank = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    if (i > 0 && order[i] >> 32 != order[i - 1] >> 32) ++rank;
    ranks[static_cast<uint32_t>(order[i])] = rank;
  }
  return ranks;
}

}  // namespace smelt
