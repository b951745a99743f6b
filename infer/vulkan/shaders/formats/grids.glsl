// Entries of the IQ codebooks: signed bytes, four to a word, of the host's tables.

/// Eight values of a grid, negative where the sign bit is set.
void SignedOctet(Words first, Words second, uint signs, float scale, out float y[8]) {
  for (uint half_of = 0; half_of < 2; ++half_of) {
    const uint four = half_of == 0 ? first.v[0] : second.v[0];
    for (uint k = 0; k < 4; ++k) {
      const int code = Signed8(four >> (8 * k));
      y[4 * half_of + k] = scale * float(((signs >> (4 * half_of + k)) & 1u) != 0 ? -code : code);
    }
  }
}
Words Grid8(uint table, uint index) { return Words(At(p.tables, table + 2 * index, 4)); }
Words Grid4(uint table, uint index) { return Words(At(p.tables, table + index, 4)); }
Words Next(Words words) { return Words(At(Address(words), 1, 4)); }

/// Seven stored sign bits; the eighth makes their number even.
uint EvenSigns(uint bits7) { return bits7 | ((uint(bitCount(bits7)) & 1u) << 7); }

/// IQ1: eight times the grid's values, and one more, or one less where `down`.
void ShiftedOctet(Words grid, bool down, float scale, out float y[8]) {
  for (uint k = 0; k < 8; ++k) {
    const int code = Signed8(grid.v[k / 4] >> (8 * (k % 4)));
    y[k] = scale * float(8 * code + (down ? -1 : 1));
  }
}
