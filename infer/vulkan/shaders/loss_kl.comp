#version 460
// Of one part of the vocabulary and one token: the divergence of the model's distribution q from the
// reference's p as sum of q (r ln r - r + 1), r = p / q, whose terms do not cancel.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(local_size_x = 64) in;
SHARED_SUM(64)

layout(push_constant, std430) uniform Push {
  Address model, reference;  // logits, [token][row]
  Address log_sums;          // [token]: the model's, then the reference's, as two floats each
  Address to;                // [token][part]
  uint rows, part_rows, model_stride, reference_stride;
} p;

void main() {
  const uint t = gl_LocalInvocationID.x, part = gl_WorkGroupID.x, token = gl_WorkGroupID.y;
  const uint begin = part * p.part_rows, end = min(p.rows, begin + p.part_rows);
  Floats a = FloatsAt(At(p.model, token, p.model_stride * 4), 0);
  Floats b = FloatsAt(At(p.reference, token, p.reference_stride * 4), 0);
  Floats log_sums = FloatsAt(p.log_sums, token * 4);
  float sum = 0;
  for (uint i = begin + t; i < end; i += 64) {
    const float ln_q = (a.v[i] - log_sums.v[0]) - log_sums.v[1];
    const float ln_p = (b.v[i] - log_sums.v[2]) - log_sums.v[3];
    const float d = ln_p - ln_q;
    // r ln r - r + 1 for r = e^d: d^2 / 2 + d^3 / 3 + d^4 / 8 near zero. Multiplied out where q vanishes.
    sum += abs(d) < 0.05 ? exp(ln_q) * d * d * (0.5 + d * (1.0 / 3.0 + d * (0.125 + d * (1.0 / 30.0))))
                         : exp(ln_p) * (d - 1.0) + exp(ln_q);
  }
  sum = WorkgroupSum(sum);
  if (t == 0) Floats(p.to).v[token * gl_NumWorkGroups.x + part] = sum;
}
