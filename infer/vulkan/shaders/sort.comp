#version 460
// What the tokens chose, sorted by expert: one workgroup counts, and lists tiles of kTile choices of one
// expert. Where in its expert's part a choice comes is left open: its products do not depend on it.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(local_size_x = 64) in;
const uint kMostExperts = 1024, kTile = 32;
shared uint ends[kMostExperts];

layout(push_constant, std430) uniform Push {
  Address chosen;  // [choice]: its expert
  Address to;      // [choice]: numbers of choices, sorted; then [tile]: expert, first, end
  uint choices, experts, tiles;
} p;

void main() {
  const uint t = gl_LocalInvocationID.x;
  Words chosen = Words(p.chosen), order = Words(p.to), tile = Words(At(p.to, p.choices, 4));
  for (uint e = t; e < p.experts; e += 64) ends[e] = 0;
  barrier();
  for (uint i = t; i < p.choices; i += 64) atomicAdd(ends[chosen.v[i]], 1);
  barrier();
  if (t == 0) {
    uint begin = 0, n = 0;
    for (uint e = 0; e < p.experts; ++e) {
      const uint end = begin + ends[e];
      for (uint at = begin; at < end; at += kTile, ++n) {
        tile.v[3 * n] = e;
        tile.v[3 * n + 1] = at;
        tile.v[3 * n + 2] = min(at + kTile, end);
      }
      ends[e] = begin;
      begin = end;
    }
    for (; n < p.tiles; ++n) tile.v[3 * n + 1] = tile.v[3 * n + 2] = 0;
  }
  barrier();
  for (uint i = t; i < p.choices; i += 64) order.v[atomicAdd(ends[chosen.v[i]], 1)] = i;
}
