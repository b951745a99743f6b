// The levels of the IQ codebooks, and their order for the search.
#pragma once

#include <cstdint>
#include <iterator>

#include "quant/granule_index.h"
#include "quant/iq_tables.h"

namespace smelt {

inline constexpr int8_t kIq1Levels[] = {-1, 0, 1};
inline constexpr int8_t kIq2Levels[] = {8, 25, 43};
inline constexpr int8_t kIq3XxsLevels[] = {4, 12, 20, 28, 36, 44, 52, 62};
inline constexpr int8_t kIq3SLevels[] = {1, 3, 5, 7, 9, 11, 13, 15};

/// The index of a codebook of IqTables (`kTable`: its member) with these levels, made when it is
/// first asked for.
template <auto kTable, const auto& kLevels>
const GranuleIndex& IqIndex() {
  const auto& table = kIqTables.*kTable;
  static const GranuleIndex index = MakeGranuleIndex(
      table[0], std::size(table), std::size(table[0]), kLevels, std::size(kLevels));
  return index;
}

}  // namespace smelt
