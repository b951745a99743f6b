// ERNIE 4.5, dense and with experts: rotation in pairs.
// Defaults: transformers models/{ernie4_5,ernie4_5_moe}/configuration_*.py.
#include <algorithm>

#include "lib/base/status.h"
#include "lib/model/families/families.h"

namespace smelt {

const Architecture kErnie45Architecture = {.name = "ernie4_5", .rope = RopeStyle::kInterleaved};
const Architecture kErnie45MoeArchitecture = {.name = "ernie4_5-moe",
                                              .rope = RopeStyle::kInterleaved};

namespace {

constexpr std::string_view kErnieNames[] = {"Ernie4_5ForCausalLM", "Ernie4_5_ForCausalLM",
                                            "Ernie4_5Model"};

constexpr auto kErnieHypers = Table<HyperRule>(DecoderHypers({.vocab = 103424,
                                                              .ffn = 3072,
                                                              .heads = 16,
                                                              .kv_heads = Default(2),
                                                              .head_dim = Default(128),
                                                              .context = 131072,
                                                              .eps = RmsEps(1e-5),
                                                              .tied = true}),
                                               Flag(Param::kBias, "use_bias", false));

constexpr auto kErnieKeys =
    Table<KeyRule>(kSizeKeys, kRmsEpsKey, HeadSizeKeys(Param::kHeadDim), kFileTypeKey);

constexpr auto kErnieTensors =
    Table<TensorRule>(kEnds, kAttentionNorm, AttentionTensors(Param::kBias, Param::kBias), kFfnNorm,
                      GatedMlp(Param::kBias));

absl::Status DeriveErnie(FamilyContext& context) {
  if (context.hyper.flag(Param::kBias)) context.differences.push_back("cannot load biases");
  return absl::OkStatus();
}

constexpr std::string_view kErnieMoeNames[] = {"Ernie4_5_MoeForCausalLM", "Ernie4_5_MoeModel"};

constexpr auto kErnieMoeHypers = Table<HyperRule>(
    DecoderHypers({.vocab = 103424,
                   .ffn = 12288,
                   .heads = 20,
                   .kv_heads = Default(4),
                   .context = 131072,
                   .eps = RmsEps(1e-5),
                   .tied = true}),
    HyperRule{Param::kExperts, "moe_num_experts", HyperKind::kCount, Default(64), 1, 1 << 16},
    HyperRule{Param::kExpertsUsed, "moe_k", HyperKind::kCount, Default(6), 1, 1 << 16},
    HyperRule{Param::kExpertFfn, "moe_intermediate_size", HyperKind::kCount, Default(1536)},
    HyperRule{Param::kSharedCount, "moe_num_shared_experts", HyperKind::kCount, Default(2), 0,
              1 << 16},
    HyperRule{Param::kDenseLayers, "moe_layer_start_index", HyperKind::kCount, Default(1), 0,
              1 << 16},
    HyperRule{Param::kExpertPeriod, "moe_layer_interval", HyperKind::kCount, Default(1), 1,
              1 << 16});

// The first four are what releases say of themselves; the class has no such switches.
constexpr FixedRule kErnieMoeFixed[] = {
    {"moe_gate", "\"topk\""},        {"moe_use_aux_free", "true"},
    {"moe_gate_act", "\"softmax\""}, {"moe_multimodal_enabled", "false"},
    {"use_bias", "false"},           {"moe_norm_min", "1e-12"}};

constexpr auto kErnieMoeKeys = Table<KeyRule>(
    kSizeKeys, kRmsEpsKey, HeadSizeKeys(Param::kGivenHeadDim), kFileTypeKey, kExpertKeys,
    KeyRule{"interleave_moe_layer_step", ValueType::kU32, Param::kExpertPeriod},
    KeyRule{"leading_dense_block_count", ValueType::kU32, Param::kDenseLayers},
    KeyRule{"expert_feed_forward_length", ValueType::kU32, Param::kExpertFfn},
    KeyRule{"expert_shared_count", ValueType::kU32, Param::kSharedCount},
    KeyRule{"expert_shared_feed_forward_length", ValueType::kU32, Param::kSharedFfn});

constexpr auto kErnieMoeTensors =
    Table<TensorRule>(kEnds, kAttentionNorm, AttentionTensors(Param::kNone, Param::kNone), kFfnNorm,
                      GatedMlp(Param::kNone, IsDense), ExpertTensors(Param::kExpertFfn),
                      If(IsSparse, {"blk.*.exp_probs_b.bias",
                                    "model.layers.*.mlp.moe_statics.e_score_correction_bias|"
                                    "model.layers.*.mlp.gate.moe_statics.e_score_correction_bias",
                                    Param::kOne, Param::kExperts}),
                      kSharedExpertTensors);

/// Layers from moe_layer_start_index to moe_layer_end_index, every moe_layer_interval-th, have
/// experts.
absl::Status DeriveErnieMoe(FamilyContext& context) {
  Hyper& h = context.hyper;
  const auto layers = static_cast<double>(h(Param::kLayers));
  SMELT_ASSIGN_OR_RETURN(const auto given, context.config.Real("moe_layer_end_index"));
  const double last = given.value_or(-1) == -1 ? layers - 1 : *given;
  for (uint64_t i = 0; i < h(Param::kLayers); ++i) {
    context.sparse.push_back((i + 1) % h(Param::kExpertPeriod) == 0 &&
                             i >= h(Param::kDenseLayers) && static_cast<double>(i) <= last);
  }
  if (last < layers - 1)
    context.differences.push_back("cannot load dense layers behind those with experts");
  h.Set(Param::kSharedFfn, h.real(Param::kSharedCount) * h.real(Param::kExpertFfn));
  return absl::OkStatus();
}

}  // namespace

const Family kErnie45 = {
    .names = kErnieNames,
    .model_type = "ernie4_5",
    .architecture = kErnie45Architecture,
    .hypers = kErnieHypers,
    .fixed = {},
    .keys = kErnieKeys,
    .tensors = kErnieTensors,
    .rope = {.theta = 500000},
    .derive = DeriveErnie,
};

const Family kErnie45Moe = {
    .names = kErnieMoeNames,
    .model_type = "ernie4_5_moe",
    .architecture = kErnie45MoeArchitecture,
    .hypers = kErnieMoeHypers,
    .fixed = kErnieMoeFixed,
    .keys = kErnieMoeKeys,
    .tensors = kErnieMoeTensors,
    .rope = {.theta = 500000},
    .derive = DeriveErnieMoe,
};

}  // namespace smelt
