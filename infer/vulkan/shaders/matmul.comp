#version 460
// Many inputs: a workgroup makes 64 rows of 32 outputs, 32 columns at a time, decoded once into shared
// memory. Sums of 32 products are added up to the result.
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "product.glsl"
layout(local_size_x = 64) in;
const uint kRows = 64, kInputs = 32, kStep = 32;
// One matrix, or all of a stack; the chosen ones of a stack, of a tile of sort.comp's.
const uint kOne = 0, kSorted = 3;
layout(constant_id = 1) const uint kForm = kOne;
shared float tile[kStep][kRows + 1], inputs[kStep][kInputs + 1];
#define sums tile  // [input][row] at last
shared uint tokens[kInputs];  // rows of the outputs

void main() {
  const uint t = gl_LocalInvocationID.x;
  const uint first = gl_WorkGroupID.x * kRows;
  const uint my_row = t % 8, my_input = t / 8;  // and every eighth of them
  const Strides s = StridesOf();
  uint matrix = gl_WorkGroupID.z, begin = gl_WorkGroupID.y * kInputs, end = p.inputs;
  if (kForm == kSorted) {
    Words of = Words(At(At(s.chosen, p.inputs, 4), s.in_step + gl_WorkGroupID.y, 12));
    matrix = of.v[0];
    begin = of.v[1];
    end = of.v[2];
    // Of the experts that are there.
    if (begin == end || matrix - p.second.to >= p.second.rows) return;
  }
  const uint stack = kForm == kSorted ? 0 : matrix;
  if (t < kInputs) {
    const uint n = min(begin + t, end - 1);
    tokens[t] = kForm == kSorted ? Words(s.chosen).v[n] : n;
  }
  barrier();
  const uint first_weight = matrix * s.stack_rows;
  Row row = WeightRow(p.first, first_weight + min(first + t, p.first.rows - 1));
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
      const uint token = tokens[i / kStep] / s.share, k = i % kStep;
      inputs[k][i / kStep] = column + k < p.columns
          ? FloatsAt(At(p.x, token, s.in_stride * 4), stack * s.in_step + column + k).v[0] : 0.0;
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
  // An invocation stores a row's, so that neighbours store side by side.
  [[unroll]] for (uint r = 0; r < 8; ++r)
    [[unroll]] for (uint n = 0; n < 4; ++n) sums[my_input + 8 * n][my_row + 8 * r] = sum[r][n];
  barrier();
  const uint to_row = first + t;
  for (uint n = 0; n < kInputs && begin + n < end && to_row < p.first.rows; ++n) {
    Floats to = FloatsAt(At(p.to, tokens[n], s.out_stride * 4), stack * s.out_step + to_row);
    to.v[0] = Stored(s, Scaled(p.first, first_weight + to_row, sums[n][t]), to.v[0]);
  }
}
