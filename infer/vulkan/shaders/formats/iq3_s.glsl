// As quant/iq3_s.cc.
#include "grids.glsl"
const uint kBlock = 256, kBytes = 110, kGroup = 32;
const bool kMinimum = false;
Octet Unpack8(Row row, uint i) {
  const uint at = i / 256 * kBytes, o = i % 256 / 8, g = o / 4;
  const uint s = bitfieldExtract(Byte(row, at + 106 + g / 2), int(g % 2) * 4, 4);
  const float scale = Half(row, at) * float(1 + 2 * s);
  const uint quads = Two(row, at + 2 + 2 * o);
  const uint ninth = Byte(row, at + 66 + o / 4) >> (o % 4 * 2);
  const uvec2 codes = uvec2(Grid4(kIq3S, (quads & 255u) | ((ninth & 1u) << 8)),
                            Grid4(kIq3S, (quads >> 8) | (((ninth >> 1) & 1u) << 8)));
  return Octet(Signed(codes, Byte(row, at + 74 + o)), scale, 0);
}
