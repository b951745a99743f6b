// Rows of a weight in its block format, read by words; which it is, the build says.

/// A row: the words from the one on in which it begins, and how many bytes it begins later.
struct Row {
  Words words;
  uint skew;
};
Row RowAt(Address weight, uint row, uint row_bytes) {
  const Address a = At(weight, row, row_bytes);
  return Row(Words(Address(a.x & ~3u, a.y)), a.x & 3u);
}

uint Byte(Row r, uint at) {
  at += r.skew;
  return bitfieldExtract(r.words.v[at >> 2], int(at & 3u) * 8, 8);
}
/// Four bytes, the first lowest; `at` need not be aligned.
uint Word(Row r, uint at) {
  at += r.skew;
  const uint shift = (at & 3u) * 8;
  const uint word = r.words.v[at >> 2];
  if (shift == 0) return word;
  return (word >> shift) | (r.words.v[(at >> 2) + 1] << (32 - shift));
}
uint Two(Row r, uint at) {  // bytes, `at` even and the row too
  at += r.skew;
  return bitfieldExtract(r.words.v[at >> 2], int(at & 2u) * 8, 16);
}

float F16(uint bits) {
  const uint sign = (bits & 0x8000u) << 16, exponent = bits & 0x7c00u, mantissa = bits & 0x3ffu;
  if (exponent == 0) return uintBitsToFloat(floatBitsToUint(float(mantissa) * 5.9604644775390625e-8) | sign);
  if (exponent == 0x7c00u) return uintBitsToFloat(sign | 0x7f800000u | (mantissa << 13));
  return uintBitsToFloat(sign | ((exponent << 13) + 0x38000000u) | (mantissa << 13));
}
float Half(Row r, uint at) { return F16(Two(r, at)); }

int Signed8(uint bits) { return bitfieldExtract(int(bits), 0, 8); }

// Where the host's tables begin, in words from p.tables on (tables.h).
const uint kIq2Xxs = 0, kIq2Xs = 512, kIq2S = 1536, kIq3Xxs = 3584, kIq3S = 3840, kIq1 = 4352,
           kIq4Values = 8448, kFp4Doubled = 8452;

/// Eight elements that follow each other: code times scale less minimum. The codes are signed bytes.
struct Octet {
  uvec2 codes;
  float scale, minimum;
};
uvec2 TwoWords(Row r, uint at) { return uvec2(Word(r, at), Word(r, at + 4)); }
/// Eight nibbles of sixteen bytes, low ones of elements 0 .. 15 and high ones of the others, from
/// element `in_block` on, as bytes.
uvec2 Nibbles(Row r, uint at, uint in_block) {
  return TwoWords(r, at + in_block % 16) >> (in_block / 16 * 4) & 0x0f0f0f0fu;
}
/// Bits 0 .. 7 as bytes.
uvec2 Spread(uint bits) { return (uvec2(bits, bits >> 4) & 15u) * 0x00204081u & 0x01010101u; }
/// Unsigned bytes, each less `zero`, where that is in [-128, 127].
uvec2 Less(uvec2 bytes, uint zero) { return bytes + (128u - zero) * 0x01010101u ^ 0x80808080u; }

#include "format.glsl"

#ifndef FLOATS
/// Elements i .. i + 7 of a row, i a multiple of 8.
void Decode8(Row row, uint i, out float y[8]) {
  const Octet o = Unpack8(row, i);
  for (int k = 0; k < 4; ++k) {
    y[k] = o.scale * float(bitfieldExtract(int(o.codes.x), 8 * k, 8));
    y[4 + k] = o.scale * float(bitfieldExtract(int(o.codes.y), 8 * k, 8));
  }
  if (kMinimum)
    for (uint k = 0; k < 8; ++k) y[k] -= o.minimum;
}
#endif

/// Elements i .. i + 7 of a row of so many columns; zero past its end.
void DecodeOctet(Row row, uint i, uint columns, out float y[8]) {
  Decode8(row, i, y);
  if (i + 8 > columns)
    for (uint k = 0; k < 8; ++k) y[k] = i + k < columns ? y[k] : 0.0;
}
