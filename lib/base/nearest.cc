#include "lib/base/nearest.h"

#include <algorithm>
#include <numeric>

namespace smelt {
namespace {

constexpr size_t kLongest = 256;  // bytes of a text that are compared

std::string Lowered(std::string_view text) {
  std::string lowered(text.substr(0, kLongest));
  for (char& c : lowered) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lowered;
}

}  // namespace

size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
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
