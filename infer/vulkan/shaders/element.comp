#version 460
// What works on features one by one.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "math.glsl"
layout(local_size_x = 64) in;

// smelt::vulkan::Element, by number.
const uint kAddScaled = 0, kScale = 1, kGate = 2, kMultiply = 3, kClamp = 4, kXielu = 5,
           kScaleTokens = 6;

layout(push_constant, std430) uniform Push {
  Address x, other;  // x is written
  uint count, kind, activation;
  uint features;  // of a token
  float a, b, c, d;
} p;

void main() {
  Floats x = Floats(p.x), other = Floats(p.other);
  for (uint i = gl_GlobalInvocationID.x; i < p.count; i += gl_NumWorkGroups.x * 64) {
    const float v = x.v[i];
    float y;
    switch (p.kind) {
      case kAddScaled: y = v + p.a * other.v[i]; break;
      case kScale: y = v * p.a; break;
      case kGate: y = v * Activate(p.activation, other.v[i]); break;
      case kMultiply: y = v * other.v[i]; break;
      case kClamp: y = min(max(v, -p.a), p.a); break;
      case kXielu:
        y = v > 0 ? p.a * v * v + p.c * v : (Expm1(min(v, p.d)) - v) * p.b + p.c * v;
        break;
      default: y = v * other.v[i / p.features]; break;
    }
    x.v[i] = y;
  }
}
