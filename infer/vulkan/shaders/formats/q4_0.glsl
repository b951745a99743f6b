// As quant/q4_0.cc.
const uint kBlock = 32, kBytes = 18, kGroup = 32;
const bool kMinimum = false;
Octet Unpack8(Row row, uint i) {
  const uint at = i / 32 * kBytes;
  return Octet(Less(Nibbles(row, at + 2, i % 32), 8), Half(row, at), 0);
}
