#version 460
// Many inputs: a workgroup makes 64 rows of 32 outputs, 32 columns at a time, decoded once into shared
// memory. Sums of 32 products are added up to the result.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "product.glsl"
layout(local_size_x = 64) in;
const uint kRows = 64, kInputs = 32, kStep = 32;
shared float tile[kStep][kRows + 1], inputs[kStep][kInputs + 1];

void main() {
  const uint t = gl_LocalInvocationID.x, matrix = gl_WorkGroupID.z;
  const uint first = gl_WorkGroupID.x * kRows, input0 = gl_WorkGroupID.y * kInputs;
  const uint my_row = t % 8, my_input = t / 8;  // and every eighth of them
  Row row = RowAt(p.weight, WeightRow(min(first + t, p.rows - 1), matrix), p.row_bytes);
  float sum[8][4];
  [[unroll]] for (uint r = 0; r < 8; ++r)
    [[unroll]] for (uint n = 0; n < 4; ++n) sum[r][n] = 0;
  for (uint column = 0; column < p.columns; column += kStep) {
    for (uint i = 0; i < kStep; i += 8) {
      float w[8];
      if (column + i < p.columns) {
        DecodeOctet(row, column + i, p.columns, w);
      } else {
        for (uint k = 0; k < 8; ++k) w[k] = 0;
      }
      for (uint k = 0; k < 8; ++k) tile[i + k][t] = w[k];
    }
    for (uint i = t; i < kStep * kInputs; i += 64) {
      const uint token = min(input0 + i / kStep, p.inputs - 1), k = i % kStep;
      inputs[k][i / kStep] = column + k < p.columns
          ? FloatsAt(At(p.x, token, p.in_stride * 4), matrix * p.in_step + column + k).v[0] : 0.0;
    }
    barrier();
    float part[8][4];
    [[unroll]] for (uint r = 0; r < 8; ++r)
      [[unroll]] for (uint n = 0; n < 4; ++n) part[r][n] = 0;
    for (uint k = 0; k < kStep; ++k) {
      float x[4];
      [[unroll]] for (uint n = 0; n < 4; ++n) x[n] = inputs[k][my_input + 8 * n];
      [[unroll]] for (uint r = 0; r < 8; ++r) {
        const float w = tile[k][my_row + 8 * r];
        [[unroll]] for (uint n = 0; n < 4; ++n) part[r][n] += w * x[n];
      }
    }
    [[unroll]] for (uint r = 0; r < 8; ++r)
      [[unroll]] for (uint n = 0; n < 4; ++n) sum[r][n] += part[r][n];
    barrier();
  }
  [[unroll]] for (uint r = 0; r < 8; ++r) {
    [[unroll]] for (uint n = 0; n < 4; ++n) {
      const uint to_row = first + my_row + 8 * r, token = input0 + my_input + 8 * n;
      if (to_row < p.rows && token < p.inputs) {
        Floats to = FloatsAt(At(p.to, token, p.out_stride * 4), matrix * p.out_step + to_row);
        to.v[0] = Finished(sum[r][n], WeightRow(to_row, matrix), to.v[0]);
      }
    }
  }
}
