// What the products' shaders share: which rows of which matrix, of what, and what becomes of it.
#include "math.glsl"

// smelt::Store, by number.
const uint kSet = 0, kAdd = 1, kActivate = 2, kMultiplyAct = 3;

layout(push_constant, std430) uniform Push {
  Address weight, tables, x, to, bias, factors;
  Address chosen;    // [input]: the matrix of each input, where a weight stacks several
  uint rows, columns, row_bytes, first_row;
  uint inputs;       // rows of `to`
  uint in_stride, out_stride;    // floats from input to input
  uint in_step, out_step;        // from matrix to matrix where all of a stack are multiplied
  uint stack_rows;   // from matrix to matrix
  uint share;        // inputs of `to` that read the same input
  uint store_activation;  // store + 256 * activation
} p;

#include "weights.glsl"

/// The weight's row that gives output `row` of input `input`.
uint WeightRow(uint row, uint matrix) { return p.first_row + matrix * p.stack_rows + row; }

float Finished(float y, uint weight_row, float before) {
  if (Present(p.factors)) y *= Floats(p.factors).v[weight_row];
  if (Present(p.bias)) y += Floats(p.bias).v[weight_row];
  const uint store = p.store_activation & 255u, activation = p.store_activation >> 8;
  switch (store) {
    case kSet: return y;
    case kAdd: return before + y;
    case kActivate: return Activate(activation, y);
    default: return y * Activate(activation, before);
  }
}
