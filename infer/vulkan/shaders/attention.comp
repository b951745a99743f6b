#version 460
// One head of one query: keys in blocks of 64, a score each invocation, with an online softmax.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "math.glsl"
layout(local_size_x = 64) in;
const uint kMostKey = 1024, kMostValues = 16;  // of an invocation: 64 * 16 values of a head
shared float query[kMostKey], weights[64];

layout(push_constant, std430) uniform Push {
  Address q, keys, values, to, sinks;
  uint queries_per_key;  // heads that share a head of keys
  uint key_size, value_size;
  uint key_stride, value_stride;  // floats from position to position
  uint position, count;           // of the first query; of keys
  uint window, causal;
  float scale, softcap;
  uint value_first;  // in its row
} p;
// Whether keys, and values, are f16.
layout(constant_id = 0) const bool kHalfKeys = false;
layout(constant_id = 1) const bool kHalfValues = false;

/// Element i of a row of a cache.
float Cached(Address row, uint i, bool halves) {
  return halves ? unpackHalf2x16(Words(row).v[i / 2])[i % 2] : Floats(row).v[i];
}

float WorkgroupMax(float x) {
  const uint t = gl_LocalInvocationID.x;
  weights[t] = x;
  barrier();
  for (uint step = 32; step > 0; step /= 2) {
    if (t < step) weights[t] = max(weights[t], weights[t + step]);
    barrier();
  }
  const float top = weights[0];
  barrier();
  return top;
}

void main() {
  const uint t = gl_LocalInvocationID.x, head = gl_WorkGroupID.x, heads = gl_NumWorkGroups.x;
  const uint at = p.position + gl_WorkGroupID.y;  // of the query in its sequence
  Floats q = FloatsAt(At(p.q, gl_WorkGroupID.y * heads + head, p.key_size * 4), 0);
  for (uint i = t; i < p.key_size; i += 64) query[i] = q.v[i];
  barrier();
  const uint end = p.causal != 0 ? min(p.count, at + 1) : p.count;
  const uint begin = p.window != 0 && at + 1 > p.window ? at + 1 - p.window : 0;
  const uint key_head = head / p.queries_per_key;
  const bool sink = Present(p.sinks);
  float top = sink ? Floats(p.sinks).v[head] : -1e30, sum = 0;
  float acc[kMostValues];
  for (uint j = 0; j < kMostValues; ++j) acc[j] = 0;
  const uint mine = (p.value_size + 63 - t) / 64;  // values t, t + 64, ..
  // The sink counts once, and has no value.
  float sink_sum = sink ? 1.0 : 0.0;
  for (uint first = begin; first < end; first += 64) {
    const uint key = first + t;
    float score = -1e30;
    if (key < end) {
      const Address k = At(p.keys, key, p.key_stride * (kHalfKeys ? 2 : 4));
      float dot = 0;
      for (uint i = 0; i < p.key_size; i += 32) {
        float part = 0;
        for (uint j = i; j < min(i + 32, p.key_size); ++j) part += query[j] * Cached(k, key_head * p.key_size + j, kHalfKeys);
        dot += part;
      }
      score = SoftCap(dot * p.scale, p.softcap);
    }
    const float new_top = max(top, WorkgroupMax(score));
    const float correction = exp(top - new_top);
    const float weight = key < end ? exp(score - new_top) : 0.0;
    weights[t] = weight;
    barrier();
    sum = sum * correction + weight;
    sink_sum *= correction;
    top = new_top;
    const uint keys = min(64, end - first);
    for (uint j = 0; j < mine; ++j) {
      float part = 0;
      for (uint i = 0; i < keys; ++i)
        part += weights[i] * Cached(At(p.values, first + i, p.value_stride * (kHalfValues ? 2 : 4)),
                                    p.value_first + key_head * p.value_size + t + 64 * j, kHalfValues);
      acc[j] = acc[j] * correction + part;
    }
    barrier();
  }
  // The invocations' sums.
  weights[t] = sum;
  barrier();
  for (uint step = 32; step > 0; step /= 2) {
    if (t < step) weights[t] += weights[t + step];
    barrier();
  }
  const float all = weights[0] + sink_sum;
  Floats to = FloatsAt(At(p.to, gl_WorkGroupID.y * heads + head, p.value_size * 4), 0);
  for (uint j = 0; j < mine; ++j) to.v[t + 64 * j] = acc[j] / all;
}
