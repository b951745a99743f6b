// What a format with a codebook is, as its encoder sees it: the values that elements can take, by
// themselves or in granules of 4 or 8, and how the scale of a group is stored.
#pragma once

#include <cstdint>

#include "quant/granule_index.h"

namespace smelt {

/// Where the signs of a granule's elements are.
enum class Signs : uint8_t {
  kInLevels,  ///< the levels themselves have signs
  kFree,      ///< a bit for each element
  kEven,      ///< of eight elements an even number is negative: the eighth bit is not stored
};

/// Codes of a whole group or octet may be moved by one, up or down.
enum class Shift : uint8_t { kNone, kPerGroup, kPerOctet };

/// How the scale of a group is stored.
enum class ScaleKind : uint8_t {
  kF16,      ///< a half for each group
  kInteger,  ///< an integer under the half d of a super-block
  kE8M0,     ///< the byte of a power of two
  kE4M3,     ///< the byte of an unsigned float
};

struct ScaleRule {
  ScaleKind kind;
  /// kInteger: scale = d * unit * (factor * s + offset) for stored s from low to high.
  int low = 0, high = 0, factor = 1, offset = 0;
  float unit = 1;

  int Multiplier(int s) const { return factor * s + offset; }
};

struct CodebookFormat {
  uint32_t group;        ///< elements that share a scale
  int levels;            ///< values of an element (its magnitude where signs stand apart)
  const int8_t* values;  ///< [levels], ascending
  /// Elements that one entry of the codebook stands for; 0: each element takes any level.
  uint32_t granule = 0;
  const int8_t* codebook = nullptr;          ///< [entries][granule] values
  const GranuleIndex& (*index)() = nullptr;  ///< of its entries
  Signs signs = Signs::kInLevels;
  Shift shift = Shift::kNone;
  ScaleRule scale;
  /// The search starts from `candidates` scales in geometric progression: those that would map the
  /// largest value of a group to the largest level, times `lowest`, `lowest` times `step`, ...
  float lowest, step;
  int candidates;
  bool both_signs = false;  ///< levels are lopsided, and scales may be negative
};

}  // namespace smelt
