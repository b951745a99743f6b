// As quant/q5_0.cc.
const uint kBlock = 32, kBytes = 22, kGroup = 32;
const bool kMinimum = false;
Octet Unpack8(Row row, uint i) {
  const uint at = i / 32 * kBytes;
  const uint fifth = Word(row, at + 2) >> i % 32;
  return Octet(Less(Nibbles(row, at + 6, i % 32) | Spread(fifth) << 4, 16), Half(row, at), 0);
}
