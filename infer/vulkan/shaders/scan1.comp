#version 460
// Mamba over the tokens of one sequence; an invocation a channel. State: [state][channel].
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "math.glsl"
layout(local_size_x = 64) in;

layout(push_constant, std430) uniform Push {
  Address x, z, dt, b, c, to, a, d, h;
  uint inner, state, tokens;
} p;

void main() {
  const uint i = gl_GlobalInvocationID.x;
  if (i >= p.inner) return;
  Floats h = Floats(p.h), a = FloatsAt(p.a, i * p.state);
  const float d = Floats(p.d).v[i];
  for (uint t = 0; t < p.tokens; ++t) {
    const uint at = t * p.inner + i;
    const float dt = Softplus(Floats(p.dt).v[at]), x = Floats(p.x).v[at], z = Floats(p.z).v[at];
    float y = 0;
    for (uint j = 0; j < p.state; ++j) {
      const float state = exp(dt * a.v[j]) * h.v[j * p.inner + i] + dt * x * Floats(p.b).v[t * p.state + j];
      h.v[j * p.inner + i] = state;
      y += state * Floats(p.c).v[t * p.state + j];
    }
    Floats(p.to).v[at] = (y + d * x) * z * Sigmoid(z);
  }
}
