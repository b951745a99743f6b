// As quant/q1_0.cc.
const uint kBlock = 128, kBytes = 18;
void Decode8(Row row, uint i, out float y[8]) {
  const uint at = i / 128 * kBytes, bits = Byte(row, at + 2 + i % 128 / 8);
  const float d = Half(row, at);
  for (uint k = 0; k < 8; ++k) y[k] = ((bits >> k) & 1u) != 0 ? d : -d;
}
