// As quant/mxfp4.cc. The block has an odd number of bytes.
#include "nibbles.glsl"
const uint kBlock = 32, kBytes = 17, kGroup = 32;
const bool kMinimum = false;
Octet Unpack8(Row row, uint i) {
  const uint at = i / 32 * kBytes, e = Byte(row, at);
  const float scale = uintBitsToFloat(e < 2 ? 0x00200000u << e : (e - 1) << 23);
  return Octet(LookUp(row, at + 1, i % 32, kFp4Doubled), scale, 0);
}
