// As quant/nvfp4.cc.
#include "nibbles.glsl"
const uint kBlock = 64, kBytes = 36, kGroup = 16;
const bool kMinimum = false;
float HalfE4M3(uint byte) {
  const uint e = bitfieldExtract(byte, 3, 4), m = byte & 7u;
  if (byte == 127) return 0;
  return float(e == 0 ? m : 8 + m) * uintBitsToFloat(((e == 0 ? 1 : e) + 116) << 23);
}
Octet Unpack8(Row row, uint i) {
  const uint at = i / 64 * kBytes, g = i % 64 / 16;
  // A group's eight bytes as the first eight of sixteen: low nibbles are elements 0 .. 7.
  const uvec2 codes = LookUp(row, at + 4 + 8 * g, i % 16 / 8 * 16, kFp4Doubled);
  return Octet(codes, HalfE4M3(Byte(row, at + g)), 0);
}
