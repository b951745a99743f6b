#version 460
// CopyOp: of each group of features some go elsewhere.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(local_size_x = 64) in;

layout(push_constant, std430) uniform Push {
  Address x, to;
  uint groups;  // of all tokens
  uint in_stride, in_first, out_stride, out_first, count;
} p;

void main() {
  for (uint i = gl_GlobalInvocationID.x; i < p.groups * p.count; i += gl_NumWorkGroups.x * 64) {
    const uint g = i / p.count, f = i % p.count;
    Floats(p.to).v[g * p.out_stride + p.out_first + f] =
        Floats(p.x).v[g * p.in_stride + p.in_first + f];
  }
}
