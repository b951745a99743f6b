// As quant/tq2_0.cc.
const uint kBlock = 256, kBytes = 66;
void Decode8(Row row, uint i, out float y[8]) {
  const uint at = i / 256 * kBytes, in_block = i % 256;
  const float d = Half(row, at + 64);
  const uint shift = in_block / 32 % 4 * 2;
  for (uint half_of = 0; half_of < 2; ++half_of) {
    const uint four = Word(row, at + in_block / 128 * 32 + in_block % 32 + 4 * half_of) >> shift;
    for (uint k = 0; k < 4; ++k)
      y[4 * half_of + k] = d * float(int(bitfieldExtract(four, int(8 * k), 2)) - 1);
  }
}
