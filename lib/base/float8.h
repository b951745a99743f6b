// Floats of 8 and 4 bits, as the Open Compute Project defines them (OFP8, MX): all their values.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <limits>

namespace smelt {

/// Sign, exponent, mantissa; subnormals. Infinities and NaN are the caller's.
constexpr float SmallFloat(uint32_t bits, int exponent_bits, int mantissa_bits, int bias) {
  const uint32_t mantissa = bits & ((1u << mantissa_bits) - 1);
  const uint32_t exponent = (bits >> mantissa_bits) & ((1u << exponent_bits) - 1);
  const bool negative = (bits >> (mantissa_bits + exponent_bits) & 1) != 0;
  float value = static_cast<float>(mantissa);
  if (exponent != 0) value += static_cast<float>(1u << mantissa_bits);
  int power = (exponent == 0 ? 1 : static_cast<int>(exponent)) - bias - mantissa_bits;
  for (; power > 0; --power) value *= 2;
  for (; power < 0; ++power) value /= 2;
  return negative ? -value : value;
}

/// E4M3 (the variant without infinities): 0x7f and 0xff are NaN.
inline constexpr std::array<float, 256> kE4M3 = [] {
  std::array<float, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) table[i] = SmallFloat(i, 4, 3, 7);
  table[0x7f] = table[0xff] = std::numeric_limits<float>::quiet_NaN();
  return table;
}();

inline constexpr std::array<float, 256> kE5M2 = [] {
  std::array<float, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    table[i] = SmallFloat(i, 5, 2, 15);
    if ((i & 0x7f) == 0x7c) {
      table[i] = (i & 0x80) != 0 ? -std::numeric_limits<float>::infinity()
                                 : std::numeric_limits<float>::infinity();
    }
    if ((i & 0x7f) > 0x7c) table[i] = std::numeric_limits<float>::quiet_NaN();
  }
  return table;
}();

/// E2M1.
inline constexpr std::array<float, 16> kE2M1 = [] {
  std::array<float, 16> table{};
  for (uint32_t i = 0; i < 16; ++i) table[i] = SmallFloat(i, 2, 1, 1);
  return table;
}();

/// E8M0: powers of two; 255 is NaN.
constexpr float E8M0ToF32(uint8_t e) {
  if (e == 255) return std::numeric_limits<float>::quiet_NaN();
  return e == 0 ? 0x1p-127f : std::bit_cast<float>(static_cast<uint32_t>(e) << 23);
}

}  // namespace smelt
