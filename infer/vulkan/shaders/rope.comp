#version 460
// Rotates the heads of all tokens in place. cos and sin: [token][pair], of the host.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(local_size_x = 64) in;

struct Heads {
  Address x;
  uint count;  // pairs of all heads of all tokens
  uint heads, size, first;
};
layout(push_constant, std430) uniform Push {
  Address cos_table, sin_table;
  Heads q, k;
  uint pairs, halves;
} p;

void main() {
  for (uint n = gl_GlobalInvocationID.x; n < p.q.count + p.k.count; n += gl_NumWorkGroups.x * 64) {
    Heads h = p.q;
    uint i = n;
    if (n >= p.q.count) {
      h = p.k;
      i = n - p.q.count;
    }
    const uint pair = i % p.pairs, head = i / p.pairs, token = head / h.heads;
    const uint a = head * h.size + h.first + (p.halves != 0 ? pair : 2 * pair);
    const uint b = a + (p.halves != 0 ? p.pairs : 1);
    const float c = Floats(p.cos_table).v[token * p.pairs + pair];
    const float s = Floats(p.sin_table).v[token * p.pairs + pair];
    Floats x = Floats(h.x);
    const float xa = x.v[a], xb = x.v[b];
    x.v[a] = xa * c - xb * s;
    x.v[b] = xa * s + xb * c;
  }
}
