// As quant/q5_0.cc.
const uint kBlock = 32, kBytes = 22;
void Decode8(Row row, uint i, out float y[8]) {
  const uint at = i / 32 * kBytes, in_block = i % 32;
  const float d = Half(row, at);
  const uint fifth = Word(row, at + 2) >> in_block;
  const uint shift = in_block / 16 * 4;
  for (uint half_of = 0; half_of < 2; ++half_of) {
    const uint four = Word(row, at + 6 + in_block % 16 + 4 * half_of) >> shift;
    for (uint k = 0; k < 4; ++k) {
      const uint high = (fifth >> (4 * half_of + k)) & 1u;
      y[4 * half_of + k] = d * float(int(bitfieldExtract(four, int(8 * k), 4) + 16 * high) - 16);
    }
  }
}
