// As quant/iq2_xs.cc.
#include "grids.glsl"
const uint kBlock = 256, kBytes = 74, kGroup = 16;
const bool kMinimum = false;
Octet Unpack8(Row row, uint i) {
  const uint at = i / 256 * kBytes, o = i % 256 / 8, g = o / 2;
  const uint s = bitfieldExtract(Byte(row, at + 66 + g / 2), int(g % 2) * 4, 4);
  const float scale = Half(row, at) * (0.5 + float(s)) * 0.25;
  const uint q = Two(row, at + 2 + 2 * o);
  return Octet(Signed(Grid8(kIq2Xs, q & 511u), EvenSigns(q >> 9)), scale, 0);
}
