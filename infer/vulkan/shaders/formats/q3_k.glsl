// As quant/q3_k.cc.
const uint kBlock = 256, kBytes = 110;
void Decode8(Row row, uint i, out float y[8]) {
  const uint at = i / 256 * kBytes, in_block = i % 256, g = in_block / 16;
  const uint low = bitfieldExtract(Byte(row, at + 96 + g % 8), int(g / 8) * 4, 4);
  const uint high = bitfieldExtract(Byte(row, at + 104 + g % 4), int(g / 4) * 2, 2);
  const float scale = Half(row, at + 108) * float(int(low | (high << 4)) - 32);
  const uint bits = in_block / 32;  // 4 h + j
  for (uint half_of = 0; half_of < 2; ++half_of) {
    const uint k0 = in_block % 32 + 4 * half_of;
    const uint kept = Word(row, at + k0) >> bits;
    const uint four = Word(row, at + 32 + bits / 4 * 32 + k0) >> (bits % 4 * 2);
    for (uint k = 0; k < 4; ++k) {
      const int keep = int((kept >> (8 * k)) & 1u);
      y[4 * half_of + k] = scale * float(int(bitfieldExtract(four, int(8 * k), 2)) - 4 + 4 * keep);
    }
  }
}
