// As quant/mxfp4.cc. The block has an odd number of bytes.
#include "nibbles.glsl"
const uint kBlock = 32, kBytes = 17;
void Decode8(Row row, uint i, out float y[8]) {
  const uint at = i / 32 * kBytes, e = Byte(row, at);
  const float scale = uintBitsToFloat(e < 2 ? 0x00200000u << e : (e - 1) << 23);
  LookUp8(row, at + 1, i % 32, kFp4Doubled, scale, y);
}
