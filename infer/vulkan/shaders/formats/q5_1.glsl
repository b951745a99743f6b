// As quant/q5_1.cc.
const uint kBlock = 32, kBytes = 24, kGroup = 32;
const bool kMinimum = true;
Octet Unpack8(Row row, uint i) {
  const uint at = i / 32 * kBytes;
  const uint fifth = Word(row, at + 4) >> i % 32;
  return Octet(Nibbles(row, at + 8, i % 32) | Spread(fifth) << 4, Half(row, at), -Half(row, at + 2));
}
