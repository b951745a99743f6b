// What the products' shaders share: which rows of which matrix, of what, and what becomes of it.
#include "math.glsl"

// smelt::Store, by number.
const uint kSet = 0, kAdd = 1, kActivate = 2, kMultiplyAct = 3;
const uint kClamped = 6;  // among the activations: gpt-oss' gate

/// Rows of a matrix: the blocks, biases and factors of the first one; where it goes, in floats from p.to on.
struct Part {
  Address weight, bias, factors;
  uint to, rows;
};

layout(push_constant, std430) uniform Push {
  Address tables, x, to;
  uint columns, inputs;  // inputs: rows of `to`
  Part first, second;
  uvec4 more[2];  // Strides, or a third part
} p;

#include "weights.glsl"

/// How inputs, outputs and matrices lie, and what becomes of the products.
struct Strides {
  Address chosen;             // [input]: the matrix of each input, where a weight stacks several
  uint in_stride, out_stride; // floats from input to input
  uint in_step, out_step;     // from matrix to matrix where all of a stack are multiplied
  uint stack_rows;            // from matrix to matrix
  uint store, activation;
  uint share;                 // inputs of `to` that read the same input
};
Strides StridesOf() {
  const uint store = p.more[1].w;
  return Strides(p.more[0].xy, p.more[0].z, p.more[0].w, p.more[1].x, p.more[1].y, p.more[1].z,
                 store & 15u, store >> 4 & 15u, store >> 8);
}
Part ThirdPart() { return Part(p.more[0].xy, p.more[0].zw, p.more[1].xy, p.more[1].z, p.more[1].w); }

Row WeightRow(Part part, uint row) { return RowAt(part.weight, row, p.columns / kBlock * kBytes); }

/// y = the row's product, with its factor and bias.
float Scaled(Part part, uint row, float y) {
  if (Present(part.factors)) y *= Floats(part.factors).v[row];
  if (Present(part.bias)) y += Floats(part.bias).v[row];
  return y;
}

float Gated(uint activation, float gate, float up) {
  if (activation != kClamped) return up * Activate(activation, gate);
  const float g = min(gate, 7.0);
  return (max(min(up, 7.0), -7.0) + 1.0) * g * Sigmoid(1.702 * g);
}

float Stored(Strides s, float y, float before) {
  switch (s.store) {
    case kSet: return y;
    case kAdd: return before + y;
    case kActivate: return Activate(s.activation, y);
    default: return Gated(s.activation, before, y);
  }
}
