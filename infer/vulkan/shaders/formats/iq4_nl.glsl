// As quant/iq4_nl.cc.
#include "nibbles.glsl"
const uint kBlock = 32, kBytes = 18, kGroup = 32;
const bool kMinimum = false;
Octet Unpack8(Row row, uint i) {
  const uint at = i / 32 * kBytes;
  return Octet(LookUp(row, at + 2, i % 32, kIq4Values), Half(row, at), 0);
}
