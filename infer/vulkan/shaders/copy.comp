#version 460
// CopyOp: of each group of features some go elsewhere. Two of them, which are independent.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(local_size_x = 64) in;

// Whether what the first, and the second, writes is f16: whole rows then, two values a word.
layout(constant_id = 0) const bool kFirstHalves = false;
layout(constant_id = 1) const bool kSecondHalves = false;

struct Part {
  Address x, to;
  uint groups;  // of all tokens
  uint in_stride, in_first, out_stride, out_first, count;
};
layout(push_constant, std430) uniform Push {
  Part first, second;
  Address report;  // where a value that f16 does not hold is told
} p;

const float kTooMuch = 65520;  // and more is rounded to infinity
const uint kNotFinite = 0x7f800000u;

/// Two values as a word; one of those that become infinite goes to the report.
uint Halves(vec2 values) {
  for (uint i = 0; i < 2; ++i) {
    const uint bits = floatBitsToUint(values[i]);
    if (abs(values[i]) >= kTooMuch && (bits & kNotFinite) != kNotFinite) Words(p.report).v[0] = bits;
  }
  return packHalf2x16(values);
}

void main() {
  const uint count = p.first.groups * p.first.count;
  const uint all = count + p.second.groups * p.second.count;
  for (uint n = gl_GlobalInvocationID.x; n < all; n += gl_NumWorkGroups.x * 64) {
    Part part = p.first;
    uint i = n;
    if (n >= count) {
      part = p.second;
      i = n - count;
    }
    if (n < count ? kFirstHalves : kSecondHalves) {
      Floats x = Floats(part.x);
      if (i % 2 == 0) Words(part.to).v[i / 2] = Halves(vec2(x.v[i], x.v[i + 1]));
      continue;
    }
    const uint g = i / part.count, f = i % part.count;
    Floats(part.to).v[g * part.out_stride + part.out_first + f] =
        Floats(part.x).v[g * part.in_stride + part.in_first + f];
  }
}
