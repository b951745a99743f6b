// As quant/q2_k.cc.
const uint kBlock = 256, kBytes = 84, kGroup = 16;
const bool kMinimum = true;
Octet Unpack8(Row row, uint i) {
  const uint at = i / 256 * kBytes, in_block = i % 256;
  const uint sc = Byte(row, at + in_block / 16), shift = in_block / 32 % 4 * 2;
  const uvec2 codes = TwoWords(row, at + 16 + in_block / 128 * 32 + in_block % 32) >> shift & 0x03030303u;
  return Octet(codes, Half(row, at + 80) * float(sc & 15u), Half(row, at + 82) * float(sc >> 4));
}
