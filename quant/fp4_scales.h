// The one-byte scales of MXFP4 and NVFP4, halved, since their codes are doubled (iq_tables.h).
#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace smelt {

/// Half of the power of two that the byte is the exponent of: 2^(byte - 128).
constexpr float HalfE8M0(uint8_t byte) {
  return std::bit_cast<float>(byte < 2 ? 0x00200000u << byte : (byte - 1u) << 23);
}

/// Half the values of the bytes, as ggml reads them: bit 7 is ignored, but 127 (a NaN) is 0 while
/// 255 is read as 480.
inline constexpr auto kHalfE4M3 = [] {
  std::array<float, 256> values{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    const uint32_t e = (byte >> 3) & 15, m = byte & 7;
    const float power = HalfE8M0(static_cast<uint8_t>((e == 0 ? 1 : e) + 117));  // 2^(e - 11)
    values[byte] = static_cast<float>(e == 0 ? m : 8 + m) * power;
  }
  values[127] = 0;
  return values;
}();
inline float HalfE4M3(uint8_t byte) { return kHalfE4M3[byte]; }

}  // namespace smelt
