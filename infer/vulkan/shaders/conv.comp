#version 460
// Causal convolution per channel over the tokens of one sequence, in place; an invocation a channel.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "math.glsl"
layout(local_size_x = 64) in;
const uint kMostTaps = 16;

layout(push_constant, std430) uniform Push {
  Address x, weight, bias;
  Address window;  // [taps - 1][channel]: the last inputs
  uint channels, taps, tokens, plain;
} p;

void main() {
  const uint c = gl_GlobalInvocationID.x;
  if (c >= p.channels) return;
  Floats x = Floats(p.x), window = Floats(p.window), weight = FloatsAt(p.weight, c * p.taps);
  const float bias = Present(p.bias) ? Floats(p.bias).v[c] : 0.0;
  float past[kMostTaps];
  for (uint j = 0; j + 1 < p.taps; ++j) past[j] = window.v[j * p.channels + c];
  for (uint t = 0; t < p.tokens; ++t) {
    past[p.taps - 1] = x.v[t * p.channels + c];
    float sum = bias;
    for (uint j = 0; j < p.taps; ++j) sum += weight.v[j] * past[j];
    x.v[t * p.channels + c] = p.plain != 0 ? sum : sum * Sigmoid(sum);
    for (uint j = 0; j + 1 < p.taps; ++j) past[j] = past[j + 1];
  }
  for (uint j = 0; j + 1 < p.taps; ++j) window.v[j * p.channels + c] = past[j];
}
