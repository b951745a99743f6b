#version 460
// What the chosen experts made of each token, weighed: to = (or +=) sum of weight * result.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(local_size_x = 64) in;

layout(push_constant, std430) uniform Push {
  Address results;  // [token][used][feature]
  Address weights, to;
  uint count;  // features of all tokens
  uint features, used, add;
} p;

void main() {
  for (uint i = gl_GlobalInvocationID.x; i < p.count; i += gl_NumWorkGroups.x * 64) {
    const uint token = i / p.features, f = i % p.features;
    float sum = p.add != 0 ? Floats(p.to).v[i] : 0.0;
    for (uint e = 0; e < p.used; ++e) {
      const uint at = token * p.used + e;
      sum += Floats(p.weights).v[at] * FloatsAt(At(p.results, at, p.features * 4), f).v[0];
    }
    Floats(p.to).v[i] = sum;
  }
}
