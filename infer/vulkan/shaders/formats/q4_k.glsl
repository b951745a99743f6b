// As quant/q4_k.cc.
#include "k_scales.glsl"
const uint kBlock = 256, kBytes = 144, kGroup = 32;
const bool kMinimum = true;
Octet Unpack8(Row row, uint i) {
  const uint at = i / 256 * kBytes, in_block = i % 256, g = in_block / 32;
  const uvec2 s = KScale(row, at + 4, g);
  const uvec2 codes = TwoWords(row, at + 16 + g / 2 * 32 + i % 32) >> (g % 2 * 4) & 0x0f0f0f0fu;
  return Octet(codes, Half(row, at) * float(s.x), Half(row, at + 2) * float(s.y));
}
