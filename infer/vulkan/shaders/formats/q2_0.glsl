// As quant/q2_0.cc.
const uint kBlock = 64, kBytes = 18;
void Decode8(Row row, uint i, out float y[8]) {
  const uint at = i / 64 * kBytes, bits = Two(row, at + 2 + i % 64 / 4);
  const float d = Half(row, at);
  for (uint k = 0; k < 8; ++k) y[k] = d * float(int(bitfieldExtract(bits, int(2 * k), 2)) - 1);
}
