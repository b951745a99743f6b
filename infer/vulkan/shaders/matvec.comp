#version 460
// Few inputs: a workgroup makes two rows of up to kInputs outputs; its invocations share the columns.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "product.glsl"
layout(local_size_x = 64) in;
layout(constant_id = 0) const uint kInputs = 1;
const uint kRows = 2;
shared float partial[kRows * kInputs * 64];

void main() {
  const uint t = gl_LocalInvocationID.x;
  const uint first = gl_WorkGroupID.x * kRows, input0 = gl_WorkGroupID.y * kInputs;
  uint matrix = gl_WorkGroupID.z;
  if (Present(p.chosen)) matrix = Words(p.chosen).v[input0];
  const uint in_shift = gl_WorkGroupID.z * p.in_step;
  float sum[kRows * kInputs];
  for (uint i = 0; i < kRows * kInputs; ++i) sum[i] = 0;
  Row rows[kRows];
  for (uint r = 0; r < kRows; ++r)
    rows[r] = RowAt(p.weight, WeightRow(min(first + r, p.rows - 1), matrix), p.row_bytes);
  for (uint i = t * 8; i < p.columns; i += 64 * 8) {
    float w[kRows][8];
    for (uint r = 0; r < kRows; ++r) DecodeOctet(rows[r], i, p.columns, w[r]);
    for (uint n = 0; n < kInputs; ++n) {
      const uint token = min(input0 + n, p.inputs - 1) / p.share;
      Floats x = FloatsAt(At(p.x, token, p.in_stride * 4), in_shift + i);
      float part[kRows];
      for (uint r = 0; r < kRows; ++r) part[r] = 0;
      const uint count = min(8, p.columns - i);
      for (uint k = 0; k < count; ++k) {
        const float v = x.v[k];
        for (uint r = 0; r < kRows; ++r) part[r] += w[r][k] * v;
      }
      for (uint r = 0; r < kRows; ++r) sum[r * kInputs + n] += part[r];
    }
  }
  for (uint i = 0; i < kRows * kInputs; ++i) partial[i * 64 + t] = sum[i];
  barrier();
  for (uint step = 32; step > 0; step /= 2) {
    for (uint i = t; i < kRows * kInputs * step; i += 64) {
      const uint at = i / step * 64 + i % step;
      partial[at] += partial[at + step];
    }
    barrier();
  }
  for (uint i = t; i < kRows * kInputs; i += 64) {
    const uint row = first + i / kInputs, token = input0 + i % kInputs;
    if (row >= p.rows || token >= p.inputs) continue;
    Floats to = FloatsAt(At(p.to, token, p.out_stride * 4), gl_WorkGroupID.z * p.out_step + row);
    to.v[0] = Finished(partial[i * 64], WeightRow(row, matrix), to.v[0]);
  }
}
