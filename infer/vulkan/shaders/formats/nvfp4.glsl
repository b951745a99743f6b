// As quant/nvfp4.cc.
#include "nibbles.glsl"
const uint kBlock = 64, kBytes = 36;
float HalfE4M3(uint byte) {
  const uint e = bitfieldExtract(byte, 3, 4), m = byte & 7u;
  if (byte == 127) return 0;
  return float(e == 0 ? m : 8 + m) * uintBitsToFloat(((e == 0 ? 1 : e) + 116) << 23);
}
void Decode8(Row row, uint i, out float y[8]) {
  const uint at = i / 64 * kBytes, g = i % 64 / 16;
  // A group's eight bytes as the first eight of sixteen: low nibbles are elements 0 .. 7.
  LookUp8(row, at + 4 + 8 * g, i % 16 / 8 * 16, kFp4Doubled, HalfE4M3(Byte(row, at + g)), y);
}
