#include "smelt/nearest.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include "lib/base/ascii.h"

namespace smelt {
namespace {

constexpr size_t kLongest = 256;  // bytes of a text that are compared

std::string Lowered(std::string_view text) { return LowerAscii(text.substr(0, kLongest)); }

}  // namespace

size_t EditDistance(std::string_view a, std::string_view b) {
  // Rows of the table of distances between beginnings of both: this one and the two before.
  std::vector<size_t> row(b.size() + 1), before(b.size() + 1), two_before(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    std::swap(two_before, before);
    std::swap(before, row);
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = before[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({replaced, row[j - 1] + 1, before[j] + 1});
      const bool crossed = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (crossed) row[j] = std::min(row[j], two_before[j - 2] + 1);
    }
  }
  return row.back();
}

std::vector<std::string_view> NearestNames(std::string_view name,
                                           std::span<const std::string_view> names, size_t count) {
  const std::string wanted = Lowered(name);
  std::vector<std::pair<size_t, size_t>> order;  // distance, place
  for (size_t i = 0; i < names.size(); ++i)
    order.emplace_back(EditDistance(wanted, Lowered(names[i])), i);
  count = std::min(count, order.size());
  std::ranges::partial_sort(order, order.begin() + static_cast<std::ptrdiff_t>(count));
  std::vector<std::string_view> nearest;
  for (size_t i = 0; i < count; ++i) nearest.push_back(names[order[i].second]);
  return nearest;
}

}  // namespace smelt
