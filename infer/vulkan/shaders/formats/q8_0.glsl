// As quant/q8_0.cc.
const uint kBlock = 32, kBytes = 34;
void Decode8(Row row, uint i, out float y[8]) {
  const uint at = i / 32 * kBytes;
  const float d = Half(row, at);
  for (uint half_of = 0; half_of < 2; ++half_of) {
    const uint four = Word(row, at + 2 + i % 32 + 4 * half_of);
    for (uint k = 0; k < 4; ++k) y[4 * half_of + k] = d * float(Signed8(four >> (8 * k)));
  }
}
