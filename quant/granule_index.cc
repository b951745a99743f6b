#include "quant/granule_index.h"

#include <algorithm>
#include <tuple>

namespace smelt {

GranuleIndex MakeGranuleIndex(const int8_t* codebook, size_t entries, size_t width,
                              const int8_t* values, size_t levels) {
  auto half = [&](const int8_t* elements) {
    size_t number = 0;
    for (size_t k = width / 2; k-- > 0;) {
      const auto level = std::find(values, values + levels, elements[k]) - values;
      number = number * levels + static_cast<size_t>(level);
    }
    return static_cast<uint16_t>(number);
  };
  std::vector<std::tuple<uint16_t, uint16_t, uint16_t>> sorted;  // halves, entry
  for (size_t i = 0; i < entries; ++i) {
    const int8_t* elements = codebook + i * width;
    sorted.emplace_back(half(elements), half(elements + width / 2), static_cast<uint16_t>(i));
  }
  std::sort(sorted.begin(), sorted.end());
  GranuleIndex index;
  for (const auto& [first, second, entry] : sorted) {
    const uint16_t end = static_cast<uint16_t>(index.entry.size());
    if (index.lists.empty() || index.lists.back().first != first)
      index.lists.push_back({first, end, end});
    index.second.push_back(static_cast<uint8_t>(second));
    index.entry.push_back(entry);
    ++index.lists.back().end;
  }
  return index;
}

}  // namespace smelt
