// As quant/iq4_xs.cc.
#include "nibbles.glsl"
const uint kBlock = 256, kBytes = 136, kGroup = 32;
const bool kMinimum = false;
Octet Unpack8(Row row, uint i) {
  const uint at = i / 256 * kBytes, g = i % 256 / 32;
  const uint low = bitfieldExtract(Byte(row, at + 4 + g / 2), int(g % 2) * 4, 4);
  const uint high = bitfieldExtract(Two(row, at + 2), int(2 * g), 2);
  const float scale = Half(row, at) * float(int(low | (high << 4)) - 32);
  return Octet(LookUp(row, at + 8 + 16 * g, i % 32, kIq4Values), scale, 0);
}
