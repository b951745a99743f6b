// Groups of values that the search for codebooks encodes side by side.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace smelt {

/// Groups that are encoded together: the lanes of the widest vector.
inline constexpr size_t kCodebookGroups = 16;
inline constexpr size_t kMaxScaleGroup = 256;
inline constexpr int kMaxGranuleLevels = 8;
/// Scales around that of single levels with which a codebook's entries are tried.
inline constexpr std::array<float, 2> kAround = {0.96f, 1.07f};

/// Values of a batch, element by element: x[j][g] is element j of group g, in units of the group's
/// largest magnitude. Rows hold one number per group.
struct CodebookBatch {
  using Row = float[kCodebookGroups];
  alignas(64) Row x[kMaxScaleGroup], w[kMaxScaleGroup];
  alignas(64) Row q[kMaxScaleGroup];  ///< codes found last
  alignas(64) Row largest, inverse;   ///< signed value of largest magnitude; 0 for a group of zeros
  alignas(64) Row scale;              ///< to quantize with, in units of `largest`
  alignas(64) Row error, xq, qq;      ///< sums found last
  alignas(64) Row best_xq, best_qq;
  /// What the codes found last are stored as: entries by granule, and by octet the elements (bits)
  /// that have not their value's sign, or whether codes are shifted down.
  uint16_t entries[kCodebookGroups][8];
  uint8_t turned[kCodebookGroups][4];
};

}  // namespace smelt
