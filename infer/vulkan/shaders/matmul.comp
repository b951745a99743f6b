#version 460
// Many inputs: a workgroup makes 64 rows of 32 outputs, 32 columns at a time, decoded once into shared
// memory. Sums of 32 products are added up to the result. INTEGER: of inputs rounded to 8 bits, sums of a
// group's integers.
#extension GL_GOOGLE_include_directive : require
#ifdef INTEGER
#extension GL_EXT_spirv_intrinsics : require
#endif
#include "common.glsl"
#include "product.glsl"
#ifdef INTEGER
#include "integer.glsl"
#endif
layout(local_size_x = 64) in;
const uint kRows = 64, kInputs = 32, kStep = 32;
// One matrix, or all of a stack; the chosen ones of a stack, of a tile of sort.comp's.
const uint kOne = 0, kSorted = 3;
layout(constant_id = 1) const uint kForm = kOne;
#ifdef INTEGER
const uint kGroups = kStep / kGroup, kWords = kStep / 4;
shared uint tile[kWords][kRows + 1], inputs[kWords][kInputs + 1];
shared float sums[kInputs][kRows + 1];
shared float scales[kGroups][kRows], minimums[kGroups][kRows], input_scales[kInputs];
#else
shared float tile[kStep][kRows + 1], inputs[kStep][kInputs + 1];
#define sums tile  // [input][row] at last
#endif
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
#ifdef INTEGER
    for (uint i = 0; i < kStep; i += 8) {
      const Octet w = Unpack8(row, column + i);
      tile[i / 4][t] = w.codes.x;
      tile[i / 4 + 1][t] = w.codes.y;
      scales[i / kGroup][t] = w.scale;
      if (kMinimum) minimums[i / kGroup][t] = w.minimum;
    }
    for (uint i = t; i < kGroupWords * kInputs; i += 64) {
      const uint n = i / kGroupWords, k = i % kGroupWords;
      const uint word = InputGroup(p.x, tokens[n] / s.share, s.in_stride, column).v[k];
      if (k < kWords) {
        inputs[k][n] = word;
      } else {
        input_scales[n] = uintBitsToFloat(word);
      }
    }
    barrier();
    for (uint g = 0; g < kGroups; ++g) {
      int part[8][4], total[4];
      [[unroll]] for (uint n = 0; n < 4; ++n) {
        total[n] = 0;
        [[unroll]] for (uint r = 0; r < 8; ++r) part[r][n] = 0;
      }
      for (uint k = g * kGroup / 4; k < (g + 1) * kGroup / 4; ++k) {
        uint x[4];
        [[unroll]] for (uint n = 0; n < 4; ++n) {
          x[n] = inputs[k][my_input + 8 * n];
          if (kMinimum) total[n] += Sum(x[n]);
        }
        [[unroll]] for (uint r = 0; r < 8; ++r) {
          const uint w = tile[k][my_row + 8 * r];
          [[unroll]] for (uint n = 0; n < 4; ++n) part[r][n] += Dot(w, x[n]);
        }
      }
      [[unroll]] for (uint r = 0; r < 8; ++r) {
        [[unroll]] for (uint n = 0; n < 4; ++n) {
          float y = scales[g][my_row + 8 * r] * float(part[r][n]);
          if (kMinimum) y -= minimums[g][my_row + 8 * r] * float(total[n]);
          sum[r][n] += input_scales[my_input + 8 * n] * y;
        }
      }
    }
    barrier();
#else
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
#endif
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
