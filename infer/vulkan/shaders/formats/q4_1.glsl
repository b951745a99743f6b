// As quant/q4_1.cc.
const uint kBlock = 32, kBytes = 20, kGroup = 32;
const bool kMinimum = true;
Octet Unpack8(Row row, uint i) {
  const uint at = i / 32 * kBytes;
  return Octet(Nibbles(row, at + 4, i % 32), Half(row, at), -Half(row, at + 2));
}
