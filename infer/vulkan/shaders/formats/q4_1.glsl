// As quant/q4_1.cc.
const uint kBlock = 32, kBytes = 20;
void Decode8(Row row, uint i, out float y[8]) {
  const uint at = i / 32 * kBytes, in_block = i % 32;
  const float d = Half(row, at), m = Half(row, at + 2);
  const uint shift = in_block / 16 * 4;
  for (uint half_of = 0; half_of < 2; ++half_of) {
    const uint four = Word(row, at + 4 + in_block % 16 + 4 * half_of) >> shift;
    for (uint k = 0; k < 4; ++k)
      y[4 * half_of + k] = d * float(bitfieldExtract(four, int(8 * k), 4)) + m;
  }
}
