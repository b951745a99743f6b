// The one-byte scales of MXFP4 and NVFP4, halved, since their codes are doubled (iq_tables.h).
#pragma once

#include <cmath>
#include <cstdint>

namespace smelt {

/// Half of the power of two that the byte is the exponent of.
inline float HalfE8M0(uint8_t byte) { return std::ldexp(1.0f, byte - 128); }

/// Half the value of the byte, as ggml reads it: bit 7 is ignored, but 127 (a NaN) is 0 while 255
/// is read as 480.
inline float HalfE4M3(uint8_t byte) {
  if (byte == 127) return 0;
  const int e = (byte >> 3) & 15;
  const int m = byte & 7;
  if (e == 0) return std::ldexp(static_cast<float>(m), -10);
  return std::ldexp(static_cast<float>(8 + m), e - 11);
}

}  // namespace smelt
