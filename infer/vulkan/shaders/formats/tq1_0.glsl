// As quant/tq1_0.cc.
const uint kBlock = 256, kBytes = 54, kGroup = 32;
const bool kMinimum = false;
const uint kPowers[5] = {1, 3, 9, 27, 81};
Octet Unpack8(Row row, uint i) {
  const uint at = i / 256 * kBytes, in_block = i % 256;
  uvec2 codes = uvec2(0);
  for (uint k = 0; k < 8; ++k) {
    const uint e = in_block + k;
    uint byte, trit;
    if (e < 160) {
      byte = e % 32, trit = e / 32;
    } else if (e < 240) {
      byte = 32 + (e - 160) % 16, trit = (e - 160) / 16;
    } else {
      byte = 48 + (e - 240) % 4, trit = (e - 240) / 4;
    }
    const uint shifted = (Byte(row, at + byte) * kPowers[trit]) & 255u;
    codes[k / 4] |= (shifted * 3) >> 8 << (8 * (k % 4));
  }
  return Octet(Less(codes, 1), Half(row, at + 52), 0);
}
