// 8-bit products: groups of integers summed exactly, then scaled in f32. The instructions that this
// wants are in no portable SIMD library, so the variants carry their own target attributes and the
// best one is chosen at run time.
#pragma once

#include <cstddef>
#include <cstdint>

namespace smelt::cpu {

/// Unpacked weight rows: value = scale[g] * code - minimum[g], g = column / group, group 16 or 32.
struct Q8Tile {
  const int8_t* codes = nullptr;  ///< [rows], `stride` bytes from row to row
  size_t stride = 0;
  const float* scales = nullptr;    ///< [rows][columns / group]
  const float* minimums = nullptr;  ///< likewise, or nullptr
  uint32_t group = 32;
  size_t rows = 0, columns = 0;
  int8_t low = -128, high = 127;  ///< no code lies outside
};

/// out[row][32] = tile times one quantized panel (see Input).
void MultiplyQ8(const Q8Tile& tile, const int8_t* codes, const float* scales, const float* sums,
                float* out);

/// Rounds a panel [columns][32] to 8 bits: groups of 32 columns of each lane share a scale, max abs
/// / 127; NaN, with codes 0, where a value is NaN or infinite.
void QuantizePanel(const float* x, size_t columns, int8_t* codes, float* scales, float* sums);

}  // namespace smelt::cpu
