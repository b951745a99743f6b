#version 460
// RMS and layer norms; also lengths of 1. A workgroup works on one group of features of one token.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(local_size_x = 64) in;
SHARED_SUM(64)

layout(push_constant, std430) uniform Push {
  Address x, to, weight, bias;
  uint in_stride, out_stride;  // floats from token to token
  uint group, weights;
  uint centred, add;
  float epsilon, scale;  // of the mean of squares; of the result
} p;

void main() {
  const uint t = gl_LocalInvocationID.x, first = gl_WorkGroupID.x * p.group;
  Floats x = FloatsAt(p.x, gl_WorkGroupID.y * p.in_stride + first);
  Floats to = FloatsAt(p.to, gl_WorkGroupID.y * p.out_stride + first);
  float mean = 0;
  if (p.centred != 0) {
    float sum = 0;
    for (uint i = t; i < p.group; i += 64) sum += x.v[i];
    mean = WorkgroupSum(sum) / float(p.group);
  }
  float square = 0;
  for (uint i = t; i < p.group; i += 64) square += (x.v[i] - mean) * (x.v[i] - mean);
  const float factor = p.scale / sqrt(WorkgroupSum(square) / float(p.group) + p.epsilon);
  for (uint i = t; i < p.group; i += 64) {
    const uint w = (first + i) % p.weights;
    float y = (x.v[i] - mean) * factor;
    if (Present(p.weight)) y *= Floats(p.weight).v[w];
    if (Present(p.bias)) y += Floats(p.bias).v[w];
    to.v[i] = p.add != 0 ? to.v[i] + y : y;
  }
}
