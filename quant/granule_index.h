// A codebook ordered for the search of its nearest entry: an entry is two halves, and the cost of a
// half is the same for all entries that have it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace smelt {

/// A half is written as a number whose digits are its elements' levels, element 0 lowest.
struct GranuleIndex {
  struct List {
    uint16_t first;       ///< first half of the entries
    uint16_t begin, end;  ///< of them in `second` and `entry`
  };
  std::vector<List> lists;      ///< by first half, ascending
  std::vector<uint8_t> second;  ///< second half of each entry, ascending in a list
  std::vector<uint16_t> entry;  ///< number of the entry in the codebook
};

/// Orders `entries` entries of `width` values, each one of `levels` ascending values.
GranuleIndex MakeGranuleIndex(const int8_t* codebook, size_t entries, size_t width,
                              const int8_t* values, size_t levels);

}  // namespace smelt
