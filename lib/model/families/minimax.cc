// MiniMax-M2: experts chosen by sigmoid scores and a bias, q and k normalised over all heads at
// once, a part of each head rotates. Defaults: transformers
// models/minimax_m2/configuration_minimax_m2.py.
#include "lib/base/status.h"
#include "lib/model/families/families.h"

namespace smelt {

const Architecture kMiniMaxM2Architecture = {
    .name = "minimax-m2",
    .qk_norm = QkNorm::kAllHeads,
    .gating = Experts::Gating::kSigmoid,
};

namespace {

constexpr std::string_view kMinimaxNames[] = {"MiniMaxM2ForCausalLM", "MiniMaxM2Model"};

constexpr auto kMinimaxHypers = Table<HyperRule>(
    DecoderHypers({.vocab = 200064,
                   .ffn = 1536,
                   .heads = 48,
                   .kv_heads = Default(8),
                   .head_dim = Default(128),
                   .context = 196608,
                   .eps = RmsEps(1e-6)}),
    NumExperts(256), ExpertsUsed(8),
    HyperRule{Param::kGivenRopeDims, "rotary_dim", HyperKind::kCount, kAbsent, 2, 1 << 16});

// What the releases say of themselves, of which there is one kind; the class reads none of it.
constexpr FixedRule kMinimaxFixed[] = {
    {"scoring_func", "\"sigmoid\""},   {"use_qk_norm", "true"},
    {"qk_norm_type", "\"per_layer\""}, {"use_routing_bias", "true"},
    {"shared_intermediate_size", "0"},
};

constexpr auto kMinimaxKeys =
    Table<KeyRule>(kSizeKeys, kRmsEpsKey, kExpertKeys,
                   KeyRule{.key = "expert_gating_func", .type = ValueType::kU32, .constant = 2},
                   HeadSizeKeys(Param::kHeadDim), kFileTypeKey,
                   KeyRule{"expert_feed_forward_length", ValueType::kU32, Param::kFfn},
                   KeyRule{"rope.dimension_count", ValueType::kU32, Param::kRopeDims});

constexpr auto kMinimaxTensors = Table<TensorRule>(
    kEnds, kOutputOfTied, kAttentionNorm, AttentionTensors(Param::kNone, Param::kNone),
    kAllHeadNorms, kFfnNorm, kBlockSparseExperts,
    TensorRule{"blk.*.exp_probs_b.bias",
               "model.layers.*.block_sparse_moe.e_score_correction_bias|"
               "model.layers.*.mlp.e_score_correction_bias",
               Param::kExperts});

/// `rotary_dim` counts where no share of the head is given.
absl::Status DeriveMinimax(FamilyContext& context) {
  Hyper& h = context.hyper;
  const uint64_t dims = h(Param::kGivenRopeDims);
  if (!h.Has(Param::kGivenRopeDims) || context.rope.full.partial != 1) return absl::OkStatus();
  if (dims % 2 != 0 || dims > h(Param::kHeadDim)) {
    return context.config.Bad("rotary_dim", Cat("is ", dims, ", expected an even number up to the ",
                                                h(Param::kHeadDim), " values of a head"));
  }
  h.Set(Param::kRopeDims, static_cast<double>(dims));
  return absl::OkStatus();
}

}  // namespace

const Family kMiniMaxM2 = {
    .names = kMinimaxNames,
    .model_type = "minimax_m2",
    .architecture = kMiniMaxM2Architecture,
    .hypers = kMinimaxHypers,
    .fixed = kMinimaxFixed,
    .keys = kMinimaxKeys,
    .tensors = kMinimaxTensors,
    .rope = {.theta = 5000000},
    .partial_rotary = true,
    .derive = DeriveMinimax,
};

}  // namespace smelt
