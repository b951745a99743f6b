// As quant/iq4_nl.cc.
#include "nibbles.glsl"
const uint kBlock = 32, kBytes = 18;
void Decode8(Row row, uint i, out float y[8]) {
  const uint at = i / 32 * kBytes;
  LookUp8(row, at + 2, i % 32, kIq4Values, Half(row, at), y);
}
