// Little pieces that the layouts of the block formats share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "lib/base/float16.h"

namespace smelt {

inline uint16_t LoadU16(const uint8_t* p) { return static_cast<uint16_t>(p[0] | (p[1] << 8)); }
inline uint32_t LoadU32(const uint8_t* p) {
  return static_cast<uint32_t>(LoadU16(p)) | (static_cast<uint32_t>(LoadU16(p + 2)) << 16);
}
inline void StoreU16(uint16_t v, uint8_t* p) {
  p[0] = static_cast<uint8_t>(v);
  p[1] = static_cast<uint8_t>(v >> 8);
}
inline void StoreU32(uint32_t v, uint8_t* p) {
  StoreU16(static_cast<uint16_t>(v), p);
  StoreU16(static_cast<uint16_t>(v >> 16), p + 2);
}
inline float LoadF16(const uint8_t* p) { return F16ToF32(LoadU16(p)); }

inline int Low4(uint8_t b) { return b & 15; }
inline int High4(uint8_t b) { return b >> 4; }

/// `count` (even) values from 0 to 15, two to a byte, the first low.
inline void PackNibbles(const int8_t* values, size_t count, uint8_t* out) {
  for (size_t i = 0; i < count; i += 2)
    out[i / 2] = static_cast<uint8_t>(values[i] | (values[i + 1] << 4));
}

/// An f16 that is a number.
inline bool FiniteF16(const uint8_t* p) { return (LoadU16(p) & 0x7c00u) != 0x7c00u; }
/// For formats whose f16 fields all stand at the offsets given.
template <size_t... kOffsets>
bool FiniteF16At(const uint8_t* block) {
  return (FiniteF16(block + kOffsets) && ...);
}

}  // namespace smelt
