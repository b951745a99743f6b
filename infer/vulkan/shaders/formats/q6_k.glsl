// As quant/q6_k.cc.
const uint kBlock = 256, kBytes = 210;
void Decode8(Row row, uint i, out float y[8]) {
  const uint at = i / 256 * kBytes, in_block = i % 256, h = in_block / 128, j = in_block / 32 % 4;
  const float scale = Half(row, at + 208) * float(Signed8(Byte(row, at + 192 + in_block / 16)));
  for (uint half_of = 0; half_of < 2; ++half_of) {
    const uint k0 = in_block % 32 + 4 * half_of;
    const uint low = Word(row, at + 64 * h + j % 2 * 32 + k0) >> (j / 2 * 4);
    const uint high = Word(row, at + 128 + 32 * h + k0) >> (2 * j);
    for (uint k = 0; k < 4; ++k) {
      const uint code = bitfieldExtract(low, int(8 * k), 4) | (bitfieldExtract(high, int(8 * k), 2) << 4);
      y[4 * half_of + k] = scale * float(int(code) - 32);
    }
  }
}
