// As quant/q2_k.cc.
const uint kBlock = 256, kBytes = 84;
void Decode8(Row row, uint i, out float y[8]) {
  const uint at = i / 256 * kBytes, in_block = i % 256;
  const uint sc = Byte(row, at + in_block / 16);
  const float scale = Half(row, at + 80) * float(sc & 15u);
  const float minimum = Half(row, at + 82) * float(sc >> 4);
  const uint shift = in_block / 32 % 4 * 2;
  for (uint half_of = 0; half_of < 2; ++half_of) {
    const uint four = Word(row, at + 16 + in_block / 128 * 32 + in_block % 32 + 4 * half_of) >> shift;
    for (uint k = 0; k < 4; ++k)
      y[4 * half_of + k] = scale * float(bitfieldExtract(four, int(8 * k), 2)) - minimum;
  }
}
