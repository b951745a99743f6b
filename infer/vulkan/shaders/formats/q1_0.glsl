// As quant/q1_0.cc.
const uint kBlock = 128, kBytes = 18, kGroup = 32;
const bool kMinimum = false;
Octet Unpack8(Row row, uint i) {
  const uint at = i / 128 * kBytes, bits = Byte(row, at + 2 + i % 128 / 8);
  return Octet(Less(Spread(bits) << 1, 1), Half(row, at), 0);
}
