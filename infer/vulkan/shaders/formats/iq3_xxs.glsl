// As quant/iq3_xxs.cc.
#include "grids.glsl"
const uint kBlock = 256, kBytes = 98, kGroup = 32;
const bool kMinimum = false;
Octet Unpack8(Row row, uint i) {
  const uint at = i / 256 * kBytes, g = i % 256 / 32, l = i % 32 / 8;
  const uint word = Word(row, at + 66 + 4 * g);
  const float scale = Half(row, at) * (0.5 + float(word >> 28)) * 0.5;
  const uint quads = Two(row, at + 2 + 8 * g + 2 * l);
  const uint signs = EvenSigns(bitfieldExtract(word, int(7 * l), 7));
  return Octet(Signed(uvec2(Grid4(kIq3Xxs, quads & 255u), Grid4(kIq3Xxs, quads >> 8)), signs), scale, 0);
}
