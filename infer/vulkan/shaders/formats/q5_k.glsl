// As quant/q5_k.cc.
#include "k_scales.glsl"
const uint kBlock = 256, kBytes = 176;
void Decode8(Row row, uint i, out float y[8]) {
  const uint at = i / 256 * kBytes, in_block = i % 256, g = in_block / 32;
  const uvec2 s = KScale(row, at + 4, g);
  const float scale = Half(row, at) * float(s.x), minimum = Half(row, at + 2) * float(s.y);
  for (uint half_of = 0; half_of < 2; ++half_of) {
    const uint k0 = in_block % 32 + 4 * half_of;
    const uint fifth = Word(row, at + 16 + k0) >> g;
    const uint four = Word(row, at + 48 + g / 2 * 32 + k0) >> (g % 2 * 4);
    for (uint k = 0; k < 4; ++k) {
      const uint code = bitfieldExtract(four, int(8 * k), 4) + 16 * ((fifth >> (8 * k)) & 1u);
      y[4 * half_of + k] = scale * float(code) - minimum;
    }
  }
}
