// Eight nibbles of sixteen bytes, whose first element's number in the block is `in_block`, looked up
// in a table of sixteen signed bytes.
void LookUp8(Row row, uint at, uint in_block, uint table, float scale, out float y[8]) {
  Words values = Words(At(p.tables, table, 4));
  const uint shift = in_block / 16 * 4;
  for (uint half_of = 0; half_of < 2; ++half_of) {
    const uint four = Word(row, at + in_block % 16 + 4 * half_of) >> shift;
    for (uint k = 0; k < 4; ++k) {
      const uint n = bitfieldExtract(four, int(8 * k), 4);
      y[4 * half_of + k] = scale * float(Signed8(values.v[n / 4] >> (8 * (n % 4))));
    }
  }
}
