// As quant/iq2_xxs.cc.
#include "grids.glsl"
const uint kBlock = 256, kBytes = 66, kGroup = 32;
const bool kMinimum = false;
Octet Unpack8(Row row, uint i) {
  const uint at = i / 256 * kBytes, group = at + 2 + i % 256 / 32 * 8, l = i % 32 / 8;
  const uint word = Word(row, group + 4);
  const float scale = Half(row, at) * (0.5 + float(word >> 28)) * 0.25;
  const uint signs = EvenSigns(bitfieldExtract(word, int(7 * l), 7));
  return Octet(Signed(Grid8(kIq2Xxs, Byte(row, group + l)), signs), scale, 0);
}
