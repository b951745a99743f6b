// Eight nibbles of sixteen bytes, whose first element's number in the block is `in_block`, looked up
// in a table of sixteen signed bytes.
uvec2 LookUp(Row row, uint at, uint in_block, uint table) {
  Words values = Words(At(p.tables, table, 4));
  const uvec2 nibbles = Nibbles(row, at, in_block);
  uvec2 codes = uvec2(0);
  for (uint k = 0; k < 8; ++k) {
    const uint n = bitfieldExtract(nibbles[k / 4], int(8 * (k % 4)), 4);
    codes[k / 4] |= bitfieldExtract(values.v[n / 4], int(8 * (n % 4)), 8) << (8 * (k % 4));
  }
  return codes;
}
