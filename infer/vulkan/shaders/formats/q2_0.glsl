// As quant/q2_0.cc.
const uint kBlock = 64, kBytes = 18, kGroup = 32;
const bool kMinimum = false;
Octet Unpack8(Row row, uint i) {
  const uint at = i / 64 * kBytes, bits = Two(row, at + 2 + i % 64 / 4);
  uvec2 codes = uvec2(0);
  for (uint k = 0; k < 4; ++k)
    codes |= uvec2(bitfieldExtract(bits, int(2 * k), 2), bitfieldExtract(bits, int(2 * k) + 8, 2)) << (8 * k);
  return Octet(Less(codes, 1), Half(row, at), 0);
}
