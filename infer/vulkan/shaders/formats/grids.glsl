// Entries of the IQ codebooks: signed bytes, four to a word, of the host's tables.

uint Grid4(uint table, uint index) { return Words(At(p.tables, table + index, 4)).v[0]; }
uvec2 Grid8(uint table, uint index) {
  Words grid = Words(At(p.tables, table + 2 * index, 4));
  return uvec2(grid.v[0], grid.v[1]);
}

/// Codes, of which none is 0, negative where the sign bit is set.
uvec2 Signed(uvec2 codes, uint signs) {
  const uvec2 negative = Spread(signs);
  return (codes ^ negative * 255u) + negative;
}

/// Seven stored sign bits; the eighth makes their number even.
uint EvenSigns(uint bits7) { return bits7 | ((uint(bitCount(bits7)) & 1u) << 7); }

/// IQ1: eight times the grid's values, -1 .. 1, and one more, or one less where `down`.
uvec2 Shifted(uvec2 grid, bool down) {
  return Less(((grid ^ 0x80808080u) - 0x7f7f7f7fu) << 3, down ? 9 : 7);
}
