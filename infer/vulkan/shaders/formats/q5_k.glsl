// As quant/q5_k.cc.
#include "k_scales.glsl"
const uint kBlock = 256, kBytes = 176, kGroup = 32;
const bool kMinimum = true;
Octet Unpack8(Row row, uint i) {
  const uint at = i / 256 * kBytes, in_block = i % 256, g = in_block / 32;
  const uvec2 s = KScale(row, at + 4, g);
  const uvec2 fifth = TwoWords(row, at + 16 + i % 32) >> g & 0x01010101u;
  const uvec2 four = TwoWords(row, at + 48 + g / 2 * 32 + i % 32) >> (g % 2 * 4) & 0x0f0f0f0fu;
  return Octet(four | fifth << 4, Half(row, at) * float(s.x), Half(row, at + 2) * float(s.y));
}
