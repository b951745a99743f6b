#version 460
// Rows of a weight as f32.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(local_size_x = 64) in;
layout(push_constant, std430) uniform Push {
  Address weight, tables, to;
  uint rows, columns, row_bytes;
} p;
#include "weights.glsl"

void main() {
  const uint octets = (p.columns + 7) / 8;
  for (uint n = gl_GlobalInvocationID.x; n < p.rows * octets; n += gl_NumWorkGroups.x * 64) {
    const uint row = n / octets, i = n % octets * 8;
    float y[8];
    DecodeOctet(RowAt(p.weight, row, p.row_bytes), i, p.columns, y);
    Floats to = FloatsAt(At(p.to, row, p.columns * 4), i);
    for (uint k = 0; k < min(8, p.columns - i); ++k) to.v[k] = y[k];
  }
}
