#version 460
// The gated delta rule over the tokens of one sequence; an invocation a value of a value head. q and
// k have length 1 already. State: [head][key][value].
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "math.glsl"
layout(local_size_x = 64) in;

layout(push_constant, std430) uniform Push {
  Address qkv, beta, alpha, to, dt_bias, a, h;
  uint key_heads, value_heads, key_size, value_size;
  uint tokens, alternating;
} p;

void main() {
  const uint i = gl_GlobalInvocationID.x;
  if (i >= p.value_heads * p.value_size) return;
  const uint head = i / p.value_size, v = i % p.value_size;
  const uint from = p.alternating != 0 ? head % p.key_heads : head / (p.value_heads / p.key_heads);
  const uint keys = p.key_heads * p.key_size, row = 2 * keys + p.value_heads * p.value_size;
  Floats state = FloatsAt(p.h, head * p.key_size * p.value_size + v);
  const float a = Floats(p.a).v[head], bias = Floats(p.dt_bias).v[head];
  for (uint t = 0; t < p.tokens; ++t) {
    Floats q = FloatsAt(p.qkv, t * row + from * p.key_size);
    Floats k = FloatsAt(p.qkv, t * row + keys + from * p.key_size);
    const uint gate = t * p.value_heads + head;
    const float decay = exp(a * Softplus(Floats(p.alpha).v[gate] + bias));
    float known = 0;
    for (uint j = 0; j < p.key_size; ++j) known += state.v[j * p.value_size] * k.v[j];
    const float value = Floats(p.qkv).v[t * row + 2 * keys + i];
    const float change = Sigmoid(Floats(p.beta).v[gate]) * (value - decay * known);
    float sum = 0;
    for (uint j = 0; j < p.key_size; ++j) {
      const float s = decay * state.v[j * p.value_size] + k.v[j] * change;
      state.v[j * p.value_size] = s;
      sum += s * q.v[j];
    }
    Floats(p.to).v[t * p.value_heads * p.value_size + i] = sum;
  }
}
