// The 12 bytes in which Q4_K and Q5_K pack eight 6-bit scales and eight 6-bit minimums.
#pragma once

#include <array>
#include <cstdint>

#include "quant/block_bytes.h"

namespace smelt {

/// Groups 0..3 stand in the low 6 bits of bytes g (scale) and g + 4 (minimum); groups 4..7 have
/// their low nibbles in byte g + 4 and their upper 2 bits above the 6 bits of group g - 4.
inline void UnpackKScales(const uint8_t* b, uint8_t* scales, uint8_t* minimums) {
  for (int g = 0; g < 4; ++g) {
    scales[g] = b[g] & 63;
    minimums[g] = b[g + 4] & 63;
    scales[g + 4] = static_cast<uint8_t>(Low4(b[g + 8]) | ((b[g] >> 6) << 4));
    minimums[g + 4] = static_cast<uint8_t>(High4(b[g + 8]) | ((b[g + 4] >> 6) << 4));
  }
}

inline void PackKScales(const int8_t* scales, const int8_t* minimums, uint8_t* b) {
  for (int g = 0; g < 4; ++g) {
    b[g] = static_cast<uint8_t>(scales[g] | ((scales[g + 4] >> 4) << 6));
    b[g + 4] = static_cast<uint8_t>(minimums[g] | ((minimums[g + 4] >> 4) << 6));
    b[g + 8] = static_cast<uint8_t>((scales[g + 4] & 15) | ((minimums[g + 4] & 15) << 4));
  }
}

}  // namespace smelt
