#version 460
// Of one part of the vocabulary and one token: the largest logit and its row, the sum of exp(logit -
// largest), and whether all were numbers. Logits become cap(scale logit) in place first.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "math.glsl"
layout(local_size_x = 64) in;
shared float tops[64], sums[64];
shared uint bests[64], broken[64];

layout(push_constant, std430) uniform Push {
  Address logits;  // [token][row]
  Address to;      // [token][part]: largest, sum, row (a word), 1 where one is no number (a word)
  uint rows, part_rows, stride;  // stride: rows of a token's logits
  float scale, softcap;
} p;

void main() {
  const uint t = gl_LocalInvocationID.x, part = gl_WorkGroupID.x, token = gl_WorkGroupID.y;
  const uint begin = part * p.part_rows, end = min(p.rows, begin + p.part_rows);
  Floats logits = FloatsAt(At(p.logits, token, p.stride * 4), 0);
  float top = uintBitsToFloat(0xff800000u);
  uint best = begin, bad = 0;
  for (uint i = begin + t; i < end; i += 64) {
    const float v = SoftCap(logits.v[i] * p.scale, p.softcap);
    logits.v[i] = v;
    if (!(abs(v) <= 3.4028234663852886e38)) bad = 1;
    if (v > top) {
      top = v;
      best = i;
    }
  }
  tops[t] = top;
  bests[t] = best;
  broken[t] = bad;
  barrier();
  for (uint step = 32; step > 0; step /= 2) {
    if (t < step) {
      const bool other = tops[t + step] > tops[t] || (tops[t + step] == tops[t] && bests[t + step] < bests[t]);
      if (other) {
        tops[t] = tops[t + step];
        bests[t] = bests[t + step];
      }
      broken[t] |= broken[t + step];
    }
    barrier();
  }
  const float largest = tops[0];
  float sum = 0;
  for (uint i = begin + t; i < end; i += 64) sum += exp(logits.v[i] - largest);
  sums[t] = sum;
  barrier();
  for (uint step = 32; step > 0; step /= 2) {
    if (t < step) sums[t] += sums[t + step];
    barrier();
  }
  if (t == 0) {
    Words to = Words(At(p.to, token * gl_NumWorkGroups.x + part, 16));
    to.v[0] = floatBitsToUint(largest);
    to.v[1] = floatBitsToUint(sums[0]);
    to.v[2] = bests[0];
    to.v[3] = broken[0];
  }
}
