// As quant/q6_k.cc.
const uint kBlock = 256, kBytes = 210, kGroup = 16;
const bool kMinimum = false;
Octet Unpack8(Row row, uint i) {
  const uint at = i / 256 * kBytes, in_block = i % 256, h = in_block / 128, j = in_block / 32 % 4;
  const float scale = Half(row, at + 208) * float(Signed8(Byte(row, at + 192 + in_block / 16)));
  const uvec2 low = TwoWords(row, at + 64 * h + j % 2 * 32 + i % 32) >> (j / 2 * 4) & 0x0f0f0f0fu;
  const uvec2 high = TwoWords(row, at + 128 + 32 * h + i % 32) >> (2 * j) & 0x03030303u;
  return Octet(Less(low | high << 4, 32), scale, 0);
}
