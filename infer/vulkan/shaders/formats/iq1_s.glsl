// As quant/iq1_s.cc.
#include "grids.glsl"
const uint kBlock = 256, kBytes = 50, kGroup = 32;
const bool kMinimum = false;
Octet Unpack8(Row row, uint i) {
  const uint at = i / 256 * kBytes, g = i % 256 / 32, l = i % 32 / 8;
  const uint qh = Two(row, at + 34 + 2 * g);
  const float scale = Half(row, at) * float(2 * bitfieldExtract(qh, 12, 3) + 1) * 0.125;
  const uint index = Byte(row, at + 2 + 4 * g + l) | (bitfieldExtract(qh, int(3 * l), 3) << 8);
  return Octet(Shifted(Grid8(kIq1, index), (qh >> 15) != 0), scale, 0);
}
