// As quant/iq2_s.cc.
#include "grids.glsl"
const uint kBlock = 256, kBytes = 82, kGroup = 16;
const bool kMinimum = false;
Octet Unpack8(Row row, uint i) {
  const uint at = i / 256 * kBytes, o = i % 256 / 8, g = o / 2;
  const uint s = bitfieldExtract(Byte(row, at + 74 + g / 2), int(g % 2) * 4, 4);
  const float scale = Half(row, at) * (0.5 + float(s)) * 0.25;
  const uint high = bitfieldExtract(Byte(row, at + 66 + o / 4), int(o % 4) * 2, 2);
  return Octet(Signed(Grid8(kIq2S, Byte(row, at + 2 + o) | (high << 8)), Byte(row, at + 34 + o)), scale, 0);
}
