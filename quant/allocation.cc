#include "quant/allocation.h"

#include <algorithm>
#include <numeric>

namespace smelt {
namespace {

using Choices = std::vector<AllocationChoice>;

/// The choices of an item on the lower convex hull of loss over bytes, the smallest first: each
/// step to the next gains less for a byte than the one before.
std::vector<size_t> Hull(const Choices& choices) {
  std::vector<size_t> order(choices.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, [&](size_t a, size_t b) {
    return choices[a].bytes != choices[b].bytes ? choices[a].bytes < choices[b].bytes
                                                : choices[a].loss < choices[b].loss;
  });
  const auto gain = [&](size_t from, size_t to) {
    return (choices[from].loss - choices[to].loss) /
           static_cast<double>(choices[to].bytes - choices[from].bytes);
  };
  std::vector<size_t> hull;
  for (const size_t next : order) {
    if (!hull.empty() && choices[next].loss >= choices[hull.back()].loss) continue;
    if (!hull.empty() && choices[next].bytes == choices[hull.back()].bytes) continue;
    while (hull.size() > 1 && gain(hull[hull.size() - 2], hull.back()) <= gain(hull.back(), next))
      hull.pop_back();
    hull.push_back(next);
  }
  return hull;
}

/// From one choice of an item's hull to the next.
struct Step {
  size_t item = 0, to = 0;  ///< `to`: place in the hull
  double gain = 0;          ///< loss for a byte
};

/// All steps, the most worthwhile first; those of an item in their order.
std::vector<Step> StepsOf(std::span<const Choices> items,
                          const std::vector<std::vector<size_t>>& hulls) {
  std::vector<Step> steps;
  for (size_t i = 0; i < items.size(); ++i) {
    for (size_t to = 1; to < hulls[i].size(); ++to) {
      const AllocationChoice &a = items[i][hulls[i][to - 1]], &b = items[i][hulls[i][to]];
      steps.push_back({i, to, (a.loss - b.loss) / static_cast<double>(b.bytes - a.bytes)});
    }
  }
  std::ranges::stable_sort(steps, [](const Step& a, const Step& b) { return a.gain > b.gain; });
  return steps;
}

/// The one change of a single item that fits and gains most; false where there is none.
bool Improve(std::span<const Choices> items, uint64_t room, std::vector<size_t>& chosen,
             uint64_t& used) {
  double best = 0;
  size_t item = 0, to = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    const AllocationChoice& now = items[i][chosen[i]];
    for (size_t c = 0; c < items[i].size(); ++c) {
      const AllocationChoice& other = items[i][c];
      if (other.bytes > now.bytes + (room - used) || now.loss - other.loss <= best) continue;
      best = now.loss - other.loss;
      item = i, to = c;
    }
  }
  if (best <= 0) return false;
  used += items[item][to].bytes;
  used -= items[item][chosen[item]].bytes;
  chosen[item] = to;
  return true;
}

}  // namespace

std::optional<std::vector<size_t>> Allocate(std::span<const Choices> items, uint64_t budget) {
  std::vector<std::vector<size_t>> hulls;
  std::vector<size_t> at(items.size()), chosen(items.size());
  uint64_t used = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    hulls.push_back(Hull(items[i]));
    chosen[i] = hulls[i][0];
    used += items[i][chosen[i]].bytes;
  }
  if (used > budget) return std::nullopt;
  for (const Step& step : StepsOf(items, hulls)) {
    if (at[step.item] + 1 != step.to) continue;  // an earlier step of this item did not fit
    const uint64_t more = items[step.item][hulls[step.item][step.to]].bytes -
                          items[step.item][chosen[step.item]].bytes;
    if (more > budget - used) continue;
    used += more;
    at[step.item] = step.to;
    chosen[step.item] = hulls[step.item][step.to];
  }
  while (Improve(items, budget, chosen, used)) {
  }
  return chosen;
}

}  // namespace smelt
