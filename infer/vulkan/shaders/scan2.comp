#version 460
// Mamba-2 over the tokens of one sequence; an invocation a value of a head. State: [state][value].
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "math.glsl"
layout(local_size_x = 64) in;

layout(push_constant, std430) uniform Push {
  Address xbc, dt, to, dt_bias, a, d, h;
  uint inner, state, heads, groups, tokens;
  float dt_min, dt_max;
} p;

void main() {
  const uint i = gl_GlobalInvocationID.x;
  if (i >= p.inner) return;
  const uint head = i / (p.inner / p.heads), group = head / (p.heads / p.groups);
  const uint row = p.inner + 2 * p.groups * p.state;
  Floats h = Floats(p.h);
  const float a = Floats(p.a).v[head], bias = Floats(p.dt_bias).v[head], d = Floats(p.d).v[head];
  for (uint t = 0; t < p.tokens; ++t) {
    Floats xbc = FloatsAt(p.xbc, t * row);
    const float dt = min(max(Softplus(Floats(p.dt).v[t * p.heads + head] + bias), p.dt_min), p.dt_max);
    const float decay = exp(a * dt), x = xbc.v[i];
    const uint b = p.inner + group * p.state, c = b + p.groups * p.state;
    float y = 0;
    for (uint j = 0; j < p.state; ++j) {
      const float state = decay * h.v[j * p.inner + i] + dt * x * xbc.v[b + j];
      h.v[j * p.inner + i] = state;
      y += state * xbc.v[c + j];
    }
    Floats(p.to).v[t * p.inner + i] = y + d * x;
  }
}
