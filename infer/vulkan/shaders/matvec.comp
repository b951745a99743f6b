#version 460
// Few inputs: a workgroup makes two rows of up to kInputs outputs; its invocations share the columns.
// INTEGER: of inputs rounded to 8 bits.
#extension GL_GOOGLE_include_directive : require
#ifdef INTEGER
#extension GL_EXT_spirv_intrinsics : require
#endif
#include "common.glsl"
#include "product.glsl"
#ifdef INTEGER
#include "integer.glsl"
#else
uint InputWords(uint columns) { return columns; }
#endif
layout(local_size_x = 64) in;
layout(constant_id = 0) const uint kInputs = 1;
// One matrix; a gate and what it gates, of which a workgroup makes a row each; up to three matrices.
const uint kOne = 0, kPair = 1, kParts = 2;
layout(constant_id = 1) const uint kForm = kOne;
const uint kRows = 2;
shared float partial[kRows * kInputs * 64];

void main() {
  const uint t = gl_LocalInvocationID.x, input0 = gl_WorkGroupID.y * kInputs;
  uint group = gl_WorkGroupID.x;
  Part part = p.first;
  Strides s = StridesOf();
  if (kForm == kParts) {
    if (group >= (part.rows + 1) / kRows) {
      group -= (part.rows + 1) / kRows;
      part = p.second;
      if (group >= (part.rows + 1) / kRows) {
        group -= (part.rows + 1) / kRows;
        part = ThirdPart();
      }
    }
    s = Strides(Address(0), InputWords(p.columns), part.rows, 0, 0, 0, kSet, 0, 1);
  }
  uint matrix = gl_WorkGroupID.z;
  if (Present(s.chosen)) {
    // Of the experts that are there.
    matrix = Words(s.chosen).v[input0];
    if (matrix - p.second.to >= p.second.rows) return;
  }
  const uint in_shift = gl_WorkGroupID.z * s.in_step, first = kForm == kPair ? group : group * kRows;
  const uint first_weight = matrix * s.stack_rows;
  float sum[kRows * kInputs];
  for (uint i = 0; i < kRows * kInputs; ++i) sum[i] = 0;
  Row rows[kRows];
  for (uint r = 0; r < kRows; ++r)
    rows[r] = WeightRow(part, first_weight + min(first + r, part.rows - 1));
  if (kForm == kPair) rows[1] = WeightRow(p.second, first_weight + first);
#ifdef INTEGER
  for (uint i = t * 8; i < p.columns; i += 64 * 8) {
    Octet w[kRows];
    for (uint r = 0; r < kRows; ++r) w[r] = Unpack8(rows[r], i);
    for (uint n = 0; n < kInputs; ++n) {
      Words x = InputGroup(p.x, min(input0 + n, p.inputs - 1) / s.share, s.in_stride, i);
      const uvec2 codes = uvec2(x.v[i / 4 % 8], x.v[i / 4 % 8 + 1]);
      for (uint r = 0; r < kRows; ++r) {
        float y = w[r].scale * float(Dot(w[r].codes, codes));
        if (kMinimum) y -= w[r].minimum * float(Sum(codes.x) + Sum(codes.y));
        sum[r * kInputs + n] += ScaleOf(x) * y;
      }
    }
  }
#else
  for (uint i = t * 8; i < p.columns; i += 64 * 8) {
    float w[kRows][8];
    for (uint r = 0; r < kRows; ++r) DecodeOctet(rows[r], i, p.columns, w[r]);
    for (uint n = 0; n < kInputs; ++n) {
      const uint token = min(input0 + n, p.inputs - 1) / s.share;
      Floats x = FloatsAt(At(p.x, token, s.in_stride * 4), in_shift + i);
      float part_sum[kRows];
      for (uint r = 0; r < kRows; ++r) part_sum[r] = 0;
      const uint count = min(8, p.columns - i);
      for (uint k = 0; k < count; ++k) {
        const float v = x.v[k];
        for (uint r = 0; r < kRows; ++r) part_sum[r] += w[r][k] * v;
      }
      for (uint r = 0; r < kRows; ++r) sum[r * kInputs + n] += part_sum[r];
    }
  }
#endif
  for (uint i = 0; i < kRows * kInputs; ++i) partial[i * 64 + t] = sum[i];
  barrier();
  for (uint step = 32; step > 0; step /= 2) {
    for (uint i = t; i < kRows * kInputs * step; i += 64) {
      const uint at = i / step * 64 + i % step;
      partial[at] += partial[at + step];
    }
    barrier();
  }
  for (uint i = t; i < (kForm == kPair ? 1 : kRows) * kInputs; i += 64) {
    const uint row = first + i / kInputs, token = input0 + i % kInputs;
    if (row >= part.rows || token >= p.inputs) continue;
    Floats to = FloatsAt(At(p.to, token, s.out_stride * 4), part.to + gl_WorkGroupID.z * s.out_step + row);
    const float y = Scaled(part, first_weight + row, partial[i * 64]);
    if (kForm == kPair) {
      to.v[0] = Gated(s.activation, y, Scaled(p.second, first_weight + row, partial[(kInputs + i) * 64]));
    } else {
      to.v[0] = Stored(s, y, to.v[0]);
    }
  }
}
