// The six-bit scale and minimum of group g, as quant/k_scales.h packs them.
uvec2 KScale(Row row, uint at, uint g) {
  if (g < 4) return uvec2(Byte(row, at + g) & 63u, Byte(row, at + g + 4) & 63u);
  const uint low = Byte(row, at + g + 4);
  return uvec2((low & 15u) | (Byte(row, at + g - 4) >> 6 << 4),
               (low >> 4) | (Byte(row, at + g) >> 6 << 4));
}
