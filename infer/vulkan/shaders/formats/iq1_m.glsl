// As quant/iq1_m.cc.
#include "grids.glsl"
const uint kBlock = 256, kBytes = 56, kGroup = 16;
const bool kMinimum = false;
Octet Unpack8(Row row, uint i) {
  const uint at = i / 256 * kBytes, o = i % 256 / 8, g = o / 2;
  uint d = 0;
  for (uint k = 0; k < 4; ++k) d |= Byte(row, at + 48 + 2 * k + 1) >> 4 << (4 * k);
  const uint s = bitfieldExtract(Two(row, at + 48 + g / 4 * 2), int(g % 4) * 3, 3);
  const float scale = F16(d) * float(2 * s + 1) * 0.125;
  const uint h = bitfieldExtract(Byte(row, at + 32 + o / 2), int(o % 2) * 4, 4);
  return Octet(Shifted(Grid8(kIq1, Byte(row, at + o) | ((h & 7u) << 8)), (h & 8u) != 0), scale, 0);
}
