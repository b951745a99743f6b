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
  size_t group = 0;  ///< values that are normalised together; 0 = as many as weights, or all
};

struct Rope {
  size_t dims = 0;  ///< the first of a head; 0 = no rotation
  double theta = 10000, magnitude = 1;
  std::vector<double> divisors;  ///< of the frequencies; empty = 1
  bool pairs = false;            ///< of neighbours, not of halves
};

struct Mlp {
  std::string activation;  ///< silu, gelu, gelu_tanh, relu, relu2, xielu, or clamped (gpt-oss)
  Matrix gate, up, down;
  double alpha_p = 0, alpha_n = 0, beta = 0, least = 0;  ///< of xielu, as stored
};

struct Experts {
  enum class Weights { kSoftmax, kNormalisedSoftmax, kSoftmaxOfChosen, kSigmoid, kSparseMixer };
  Matrix router;
  size_t used = 0;
  Weights weights = Weights::kSoftmax;
  std::vector<Mlp> each;
  Mlp shared;
  Matrix shared_gate;  ///< absent: the shared one counts whole
  // Of kSigmoid: the bias of the selection, the groups of which the best by their two best count.
  std::vector<float> bias;
  size_t groups = 1, groups_used = 1;
  bool normalise = false;
  double scale = 1;
  double jitter = 0;  ///< of kSparseMixer
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
  Experts experts;        ///< instead of mlp, if there are any
  bool parallel = false;  ///< without ffn_norm, both halves read mixer_norm's
  double residual_scale = 1, clamp = 0;
  bool norm_after_rope = false;
};

struct Model {
  Matrix embedding, positions;
  double embedding_scale = 1;
  std::vector<Layer> layers;
  Norm final_norm;
  Matrix output;  ///< absent: the embedding
  double cap = 0, logit_scale = 1;
};

/// Logits of every position of one sequence.
Rows Logits(const Model& model, const std::vector<int32_t>& ids);

}  // namespace smelt::testing::plain
