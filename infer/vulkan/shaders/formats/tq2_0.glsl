// As quant/tq2_0.cc.
const uint kBlock = 256, kBytes = 66, kGroup = 32;
const bool kMinimum = false;
Octet Unpack8(Row row, uint i) {
  const uint at = i / 256 * kBytes, in_block = i % 256, shift = in_block / 32 % 4 * 2;
  const uvec2 codes = TwoWords(row, at + in_block / 128 * 32 + in_block % 32) >> shift & 0x03030303u;
  return Octet(Less(codes, 1), Half(row, at + 64), 0);
}
