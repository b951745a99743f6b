// As quant/q3_k.cc.
const uint kBlock = 256, kBytes = 110, kGroup = 16;
const bool kMinimum = false;
Octet Unpack8(Row row, uint i) {
  const uint at = i / 256 * kBytes, in_block = i % 256, g = in_block / 16;
  const uint low = bitfieldExtract(Byte(row, at + 96 + g % 8), int(g / 8) * 4, 4);
  const uint high = bitfieldExtract(Byte(row, at + 104 + g % 4), int(g / 4) * 2, 2);
  const float scale = Half(row, at + 108) * float(int(low | (high << 4)) - 32);
  const uint bits = in_block / 32;  // 4 h + j
  const uvec2 kept = TwoWords(row, at + in_block % 32) >> bits & 0x01010101u;
  const uvec2 two = TwoWords(row, at + 32 + bits / 4 * 32 + in_block % 32) >> (bits % 4 * 2) & 0x03030303u;
  return Octet(Less(two + (kept << 2), 4), scale, 0);
}
