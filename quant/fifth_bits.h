// The fifth bits of Q5_0 and Q5_1, which stand as 32 bits of a word, put on top of the nibbles.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "quant/block_bytes.h"

namespace smelt {

/// Eight bytes, byte i (lowest address first) 16 where bit i of `bits` is set and 0 elsewhere.
inline uint64_t SpreadFifthBits(uint64_t bits) {
  // A copy of the bits in every byte, of which byte i keeps bit i; 127 more carries it to the top
  // bit.
  const uint64_t one_each = (bits * 0x0101010101010101u) & 0x8040201008040201u;
  return ((one_each + 0x7f7f7f7f7f7f7f7fu) & 0x8080808080808080u) >> 3;
}

/// codes[i] = nibble i + 16 * bit i - `zero`; nibbles as in Q4_0, `high` the four bytes of bits.
/// Eight codes at a time in a word.
inline void UnpackFiveBits(const uint8_t* high, const uint8_t* nibbles, int zero, int8_t* codes) {
  static_assert(std::endian::native == std::endian::little);
  constexpr uint64_t kEach = 0x0101010101010101u;
  // Subtracting below zero must not borrow from the next byte: 128 more, which the last step takes
  // off.
  const uint64_t bias = (128 - static_cast<uint64_t>(zero)) * kEach;
  const uint32_t bits = LoadU32(high);
  auto store = [&](uint64_t four_bits, int first) {
    const uint64_t five = (four_bits & (15 * kEach)) | SpreadFifthBits((bits >> first) & 255u);
    const uint64_t out = (five + bias) ^ (128 * kEach);
    std::memcpy(codes + first, &out, 8);
  };
  for (int half = 0; half < 2; ++half) {
    uint64_t bytes;
    std::memcpy(&bytes, nibbles + 8 * half, 8);
    store(bytes, 8 * half);
    store(bytes >> 4, 16 + 8 * half);
  }
}

}  // namespace smelt
