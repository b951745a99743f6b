// What the engine sees of a model: every pattern, period and default already resolved, layer by
// layer. No family names here.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/model/model_source.h"

namespace smelt {

/// Index into ModelSource::tensors(); kNoTensor where the model has none.
using TensorRef = int;
inline constexpr TensorRef kNoTensor = -1;

/// y = W x + b. W has ne = (inputs, outputs). `first_row`/`rows` select a part of a fused tensor;
/// rows 0 = all.
struct Linear {
  TensorRef weight = kNoTensor;
  TensorRef bias = kNoTensor;
  uint64_t first_row = 0;
  uint64_t rows = 0;
  bool present() const { return weight != kNoTensor; }
};

enum class NormKind { kNone, kRms, kLayer };

/// y = x / rms(x) * w (RMS), or (x - mean) / std * w + b (layer norm), over `group` consecutive
/// values (0 = the whole vector).
struct Norm {
  NormKind kind = NormKind::kNone;
  double epsilon = 0;
  TensorRef weight = kNoTensor;
  TensorRef bias = kNoTensor;
  uint64_t group = 0;
  bool present() const { return kind != NormKind::kNone; }
};

enum class RopeStyle {
  kNone,
  kInterleaved,  ///< pairs (2j, 2j+1)
  kHalves,       ///< pairs (j, j + dims/2)
};

/// Rotary embedding, resolved to an angle per pair and position: angle = position * frequency[j].
/// cos and sin are multiplied by `magnitude`. `long_*` replace the others when the sequence in use
/// exceeds `long_from` positions (Phi-3 longrope). `dynamic_factor`, if not 0: the base grows with
/// a sequence of more than `dynamic_from` positions (NTK scaling).
struct Rope {
  RopeStyle style = RopeStyle::kNone;
  uint32_t dims = 0;  ///< even; the first dims of a head rotate
  std::vector<double> frequency;
  double magnitude = 1;
  std::vector<double> long_frequency;
  double long_magnitude = 1;
  uint64_t long_from = std::numeric_limits<uint64_t>::max();
  double base = 10000, dynamic_factor = 0;
  uint64_t dynamic_from = 0;

  /// Whether keys that were rotated in a sequence of `before` positions must be rotated anew in one
  /// of `after` positions.
  bool ChangesBetween(uint64_t before, uint64_t after) const;
  /// Frequencies in a sequence of `length` positions.
  std::vector<double> FrequencyAt(uint64_t length) const;
};

struct Attention {
  uint32_t heads = 0, kv_heads = 0;
  uint32_t key_size = 0, value_size = 0;  ///< per head
  double clamp = 0;                       ///< q, k and v are kept within [-clamp, clamp]; 0 = not
  double scale = 0;                       ///< of q.k
  double softcap = 0;                     ///< cap tanh(x / cap); 0 = none
  uint64_t window = 0;  ///< a query sees itself and the window - 1 positions before it; 0 = all
  Rope rope;
  Linear q, k, v, output;
  /// q has key_size + value_size rows a head, the query and then a gate: the head's result is
  /// multiplied by sigmoid(gate).
  bool gated = false;
  Norm q_norm, k_norm;  ///< group = head size, or 0: over all heads at once
  Norm v_norm;          ///< group = value_size
  /// The layer before this one whose keys and values it attends to, having no k and v; -1 = its
  /// own.
  int keys_of = -1;
  /// q is multiplied by 1 + temperature ln(1 + floor(position / temperature_length)); 0 = not.
  double temperature = 0;
  uint64_t temperature_length = 1;
  bool norm_after_rope = false;  ///< q_norm and k_norm come after the rotation, not before
  TensorRef sinks = kNoTensor;   ///< [heads]: one more logit per head in the softmax, with no value
  bool causal = true;
};

/// Multi-head latent attention in its absorbed form: keys and values of all heads come from one
/// latent vector c of `rank` values. A head's query is first unrotated, then rotated; with
/// q' = k_b^T (its unrotated part), the score is (q' . c + rotated q . rotated k) scale, and the
/// head's result v_b (sum of weighted c).
struct LatentAttention {
  uint32_t heads = 0, rank = 0;
  uint32_t plain_size = 0, rope_size = 0;  ///< of a head's query
  uint32_t value_size = 0;                 ///< of a head's result
  double scale = 0;
  Rope rope;
  Linear q_a;  ///< where the query has a latent vector of its own, which q then reads
  Norm q_a_norm;
  Linear q;        ///< heads (plain_size + rope_size) rows
  Linear kv_a;     ///< rank + rope_size rows: c, then the rotated key that all heads share
  Norm kv_a_norm;  ///< of c
  Linear k_b;      ///< ne = (plain_size, rank, heads)
  Linear v_b;      ///< ne = (rank, value_size, heads)
  Linear output;
  double temperature = 0;  ///< as Attention has it
  uint64_t temperature_length = 1;
};

/// Mamba (selective scan, one A per channel and state).
struct Mamba1 {
  uint32_t inner = 0, state = 0, conv = 0, rank = 0;
  Linear in;                                                 ///< 2 inner rows: x, then z
  TensorRef conv_weight = kNoTensor, conv_bias = kNoTensor;  ///< ne = (conv, inner)
  Linear x;                                                  ///< rank + 2 state rows: dt, B, C
  Norm dt_norm, b_norm, c_norm;
  Linear dt;                ///< rank -> inner, with bias
  TensorRef a = kNoTensor;  ///< -exp(A_log), ne = (state, inner)
  TensorRef d = kNoTensor;  ///< [inner]
  Linear out;
};

/// Mamba-2 (one A per head, B and C shared by groups).
struct Mamba2 {
  uint32_t inner = 0, state = 0, conv = 0, heads = 0, groups = 1;
  double dt_min = 0,
         dt_max = std::numeric_limits<double>::infinity();  ///< time-step limits after softplus
  Linear in;  ///< z (inner), x (inner), B (groups state), C (groups state), dt (heads)
  TensorRef conv_weight = kNoTensor,
            conv_bias = kNoTensor;  ///< ne = (conv, inner + 2 groups state)
  TensorRef dt_bias = kNoTensor, a = kNoTensor, d = kNoTensor;  ///< [heads]
  Norm norm;                      ///< gated: norm(y * silu(z)), group = inner / groups
  bool norm_before_gate = false;  ///< norm(y) * silu(z) instead
  Linear out;
};

/// Gated short convolution: out(C * conv(B * x)), a causal convolution per channel over time.
struct ShortConvolution {
  uint32_t channels = 0, conv = 0;
  Linear in;                                                 ///< 3 channels rows: B, C, x
  TensorRef conv_weight = kNoTensor, conv_bias = kNoTensor;  ///< ne = (conv, channels)
  Linear out;
};

/// Gated delta net (https://arxiv.org/abs/2412.06464). Of every value head, with q and k of length
/// 1 and q divided by sqrt(key_size): S := e^g S; S := S + k (beta (v - S^T k))^T; out = S^T q,
/// where S is [key_size][value_size], beta = sigmoid(.), g = a softplus(alpha + dt_bias).
struct DeltaNet {
  uint32_t key_heads = 0, value_heads = 0, key_size = 0, value_size = 0, conv = 0;
  /// Which key head a value head v uses: v mod key_heads, or v div (value_heads / key_heads).
  bool alternating = false;
  Linear qkv;  ///< q and k of the key heads, v of the value heads: through the convolution and SiLU
  TensorRef conv_weight = kNoTensor;  ///< ne = (conv, rows of qkv)
  Linear beta, alpha;  ///< a row per value head; alpha absent: rows of both in `beta`, by key head
                       ///< first its value heads' beta, then their alpha
  TensorRef dt_bias = kNoTensor, a = kNoTensor;  ///< [value_heads]
  Linear gate;  ///< a row per value: z. Absent: rows of `qkv` are by key head q, k, its value
                ///< heads' v and their z
  Norm norm;    ///< group = value_size; then times silu(z)
  Linear out;
};

enum class Activation { kSilu, kGelu, kGeluTanh, kRelu, kRelu2, kSigmoid };

/// A trained activation: alpha_p x^2 + beta x where x > 0, else
/// alpha_n (expm1(min(x, eps)) - x) + beta x.
struct Xielu {
  float alpha_p = 0, alpha_n = 0, beta = 0, eps = 0;
};

/// gate present: down(act(gate x) * up x); else down(act(up x)).
struct Mlp {
  Activation activation = Activation::kSilu;
  std::optional<Xielu> xielu = {};  ///< instead of `activation`, without a gate
  Linear gate, up, down;
};

/// Routed experts; expert weights are 3-dimensional tensors, experts outermost.
struct Experts {
  enum class Gating {
    kSoftmax,
    kSigmoid,
    kSoftmaxOfTopK,
    /// https://arxiv.org/abs/2409.12136: one expert after the other, each the best of those left;
    /// its weight is a softmax over those left whose logits are near (`nearness`).
    kSparseMixer,
  };
  uint32_t count = 0, used = 0;
  Linear router;
  Norm router_norm;         ///< if present, of the stream: what the router reads
  double router_scale = 1;  ///< of its logits
  Gating gating = Gating::kSoftmax;
  /// Of kSparseMixer: a logit s is near the best b where (b - s) / max(|s|, b) is not more.
  double nearness = 0;
  /// [count], added to the scores when experts are chosen, not to their weights.
  TensorRef selection_bias = kNoTensor;
  /// Experts lie in groups of which so many are looked at: those whose best, or two best, scores
  /// (bias included) sum to the most.
  uint32_t groups = 1, groups_used = 1;
  bool group_by_two_best = false;
  bool normalize = false;  ///< divide the chosen weights by their sum
  double sum_epsilon = 0;  ///< added to that sum
  double scale = 1;
  /// [count]: besides, each expert's weight is multiplied by its own.
  TensorRef expert_scale = kNoTensor;
  Activation activation = Activation::kSilu;
  Linear gate, up, down;  ///< ne = (in, out, count); biases ne = (out, count)
  /// Where they are there, the experts work between them, in a space of fewer features; router and
  /// shared expert do not.
  Linear latent_down, latent_up;
  bool clamped =
      false;   ///< gpt-oss: gate at most 7, up in [-7, 7], (up + 1) * gate * sigmoid(1.702 gate)
  Mlp shared;  ///< always on, if present
  Linear shared_gate;  ///< one row: sigmoid(shared_gate x) scales the shared expert
};

/// What mixes positions.
using Mixer = std::variant<std::monostate, Attention, LatentAttention, Mamba1, Mamba2,
                           ShortConvolution, DeltaNet>;

/// Experts that work beside a block's Mlp: what post_ffn_norm reads is then mlp_norm(mlp) +
/// out_norm(experts(in_norm(x))).
struct ExpertsBeside {
  Experts experts;
  Norm in_norm, out_norm, mlp_norm;
  bool present() const { return experts.count != 0; }
};

/// x += post_norm(projection(act(gate x) e)), with the block's part e of PerLayerInputs.
struct LayerInput {
  Linear gate, projection;
  Norm post_norm;
  Activation activation = Activation::kSilu;
  bool present() const { return gate.present(); }
};

/// One block: x += s post_mixer_norm(mixer(mixer_norm(x))); x += s post_ffn_norm(ffn(ffn_norm(x))),
/// s = residual_scale. `parallel`: both parts read the block's input, x += mixer(mixer_norm(x)) +
/// ffn(ffn_norm(x)); where ffn_norm is not there, both read mixer_norm(x). Either part may be
/// missing. A mixer beside the first one reads the same and is added too.
struct LayerSpec {
  Norm mixer_norm;
  Mixer mixer, beside;
  Norm post_mixer_norm;
  Norm ffn_norm;
  std::variant<std::monostate, Mlp, Experts> ffn;
  Norm post_ffn_norm;
  bool parallel = false;
  double residual_scale = 1;
  ExpertsBeside experts_beside;
  LayerInput input;         ///< after the feed-forward part
  double output_scale = 1;  ///< x *= output_scale, at the end
};

/// What every token gives to every block besides the stream: `size` values a block, e = scale
/// (norm(projection x) + table_scale table[token]), x the embedding of the token.
struct PerLayerInputs {
  uint32_t size = 0;
  TensorRef table = kNoTensor;  ///< ne = (size layers, vocabulary)
  double table_scale = 1, scale = 1;
  Linear projection;  ///< width -> size layers
  Norm norm;          ///< group = size
  bool present() const { return size != 0; }
};

/// The whole model.
struct ModelSpec {
  std::string architecture;     ///< for messages only
  uint64_t context_length = 0;  ///< trained context
  uint32_t width = 0;           ///< embedding length
  uint32_t vocabulary = 0;      ///< rows of the embedding
  TensorRef embedding = kNoTensor;
  double embedding_scale = 1;
  TensorRef positions = kNoTensor;  ///< learned position embeddings, one row a position
  PerLayerInputs inputs;
  std::vector<LayerSpec> layers;
  Norm final_norm;
  Linear output;  ///< the embedding itself when tied
  double logit_scale = 1;
  double logit_softcap = 0;
};

/// Reads the GGUF keys and tensor list of `source`. Every key that changes the mathematics is
/// honoured or refused by name; every tensor's shape is checked against the hyperparameters;
/// tensors that nothing uses are an error.
absl::StatusOr<ModelSpec> ReadModelSpec(const ModelSource& source);

}  // namespace smelt
