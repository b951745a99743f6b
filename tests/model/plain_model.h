// Decoders of attention blocks as plainly as their definitions, in double precision: what the
// engine is compared with. Weights are as published (half-split rotary rows, one matrix a
// projection); nothing of lib/ or infer/ is used.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace smelt::testing::plain {

using Row = std::vector<double>;
using Rows = std::vector<Row>;  ///< [position][feature]

struct Matrix {
  size_t rows = 0, columns = 0;  ///< outputs, inputs; 0 rows = absent
  std::vector<float> values, bias;
};

struct Norm {
  enum class Kind { kNone, kRms, kLayer } kind = Kind::kNone;
  std::vector<float> weight, bias;
  double epsilon = 0;
  double added = 0;  ///< to the weight: Gemma stores w - 1
};

struct Rope {
  size_t dims = 0;  ///< the first of a head; 0 = no rotation
  double theta = 10000, magnitude = 1;
  std::vector<double> divisors;  ///< of the frequencies; empty = 1
};

struct Mlp {
  std::string activation;  ///< silu, gelu, gelu_tanh, relu, relu2, or clamped (gpt-oss)
  Matrix gate, up, down;
};

struct Experts {
  enum class Weights { kSoftmax, kNormalisedSoftmax, kSoftmaxOfChosen };
  Matrix router;
  size_t used = 0;
  Weights weights = Weights::kSoftmax;
  std::vector<Mlp> each;
  Mlp shared;
  Matrix shared_gate;
};

struct Layer {
  Norm mixer_norm, q_norm, k_norm, after_mixer, ffn_norm, after_ffn;
  size_t heads = 0, kv_heads = 0, head = 0;
  double scale = 1, cap = 0;
  size_t window = 0;
  Rope rope;
  Matrix q, k, v, output;
  std::vector<float> sinks;
  Mlp mlp;
  Experts experts;  ///< instead of mlp, if there are any
  bool parallel = false;
};

struct Model {
  Matrix embedding, positions;
  double embedding_scale = 1;
  std::vector<Layer> layers;
  Norm final_norm;
  Matrix output;  ///< absent: the embedding
  double cap = 0;
};

/// Logits of every position of one sequence.
Rows Logits(const Model& model, const std::vector<int32_t>& ids);

}  // namespace smelt::testing::plain
