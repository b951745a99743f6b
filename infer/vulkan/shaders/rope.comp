#version 460
// Rotates the heads of all tokens in place. cos and sin: [token][pair], of the host.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(local_size_x = 64) in;

layout(push_constant, std430) uniform Push {
  Address x, cos_table, sin_table;
  uint count;  // pairs of all heads of all tokens
  uint heads, head_size, first, pairs, halves;
} p;

void main() {
  for (uint i = gl_GlobalInvocationID.x; i < p.count; i += gl_NumWorkGroups.x * 64) {
    const uint pair = i % p.pairs, head = i / p.pairs, token = head / p.heads;
    const uint a = head * p.head_size + p.first + (p.halves != 0 ? pair : 2 * pair);
    const uint b = a + (p.halves != 0 ? p.pairs : 1);
    const float c = Floats(p.cos_table).v[token * p.pairs + pair];
    const float s = Floats(p.sin_table).v[token * p.pairs + pair];
    Floats x = Floats(p.x);
    const float xa = x.v[a], xb = x.v[b];
    x.v[a] = xa * c - xb * s;
    x.v[b] = xa * s + xb * c;
  }
}
