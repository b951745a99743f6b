// GLM-4 (0414) and GLM-4.5, 4.6: rotation of half of each head; the dense ones in pairs and with
// norms on both sides of a block's halves, the others with experts.
// Defaults: transformers models/{glm4,glm4_moe}/configuration_*.py.
#include "lib/base/status.h"
#include "lib/model/families/families.h"

namespace smelt {

const Architecture kGlm4Architecture = {
    .name = "glm4",
    .post_mixer_norm = "post_attention_norm",
    .post_ffn_norm = "post_ffw_norm",
    .rope = RopeStyle::kInterleaved,
    .fused_gate_up = true,
};
const Architecture kGlm4MoeArchitecture = {
    .name = "glm4moe",
    .ffn_norm = "post_attention_norm",
    .qk_norm = QkNorm::kPerHead,
    .qk_norm_optional = true,
    .gating = Experts::Gating::kSigmoid,
    .expert_sum_epsilon = 1e-20,
};

namespace {

constexpr std::string_view kGlm4Names[] = {"Glm4ForCausalLM", "Glm4Model"};

constexpr auto kGlm4Hypers = Table<HyperRule>(DecoderHypers({.vocab = 151552,
                                                             .ffn = 13696,
                                                             .heads = 32,
                                                             .kv_heads = Default(2),
                                                             .head_dim = Default(128),
                                                             .context = 131072,
                                                             .eps = RmsEps(1.5625e-7)}),
                                              Flag(Param::kAttentionBias, "attention_bias", true));

constexpr auto kGlm4Keys =
    Table<KeyRule>(kSizeKeys, kRmsEpsKey, HeadSizeKeys(Param::kHeadDim), kFileTypeKey,
                   KeyRule{"rope.dimension_count", ValueType::kU32, Param::kRopeDims});

constexpr auto kGlm4Tensors = Table<TensorRule>(
    kEnds, kOutputOfTied, kAttentionNorm, AttentionTensors(Param::kAttentionBias, Param::kNone),
    TensorRule{"blk.*.post_attention_norm.weight", "model.layers.*.post_self_attn_layernorm.weight",
               Param::kWidth},
    kFfnNorm,
    TensorRule{"blk.*.ffn_up.weight", "model.layers.*.mlp.gate_up_proj.weight", Param::kTwoFfn,
               Param::kWidth},
    TensorRule{"blk.*.ffn_down.weight", "model.layers.*.mlp.down_proj.weight", Param::kWidth,
               Param::kFfn},
    TensorRule{"blk.*.post_ffw_norm.weight", "model.layers.*.post_mlp_layernorm.weight",
               Param::kWidth});

constexpr std::string_view kGlmMoeNames[] = {"Glm4MoeForCausalLM", "Glm4MoeModel"};

constexpr auto kGlmMoeHypers =
    Table<HyperRule>(DecoderHypers({.vocab = 151552,
                                    .ffn = 10944,
                                    .heads = 96,
                                    .kv_heads = Default(8),
                                    .context = 131072,
                                    .eps = RmsEps(1e-5)}),
                     Flag(Param::kAttentionBias, "attention_bias", false),
                     Flag(Param::kQkNorm, "use_qk_norm", false),
                     RoutedHypers({.experts = Default(128),
                                   .used = Default(8),
                                   .ffn = Default(1408),
                                   .shared = Default(1),
                                   .dense_layers = 1}));

constexpr FixedRule kGlmMoeFixed[] = {{"scoring_func", "\"sigmoid\""}, {"moe_layer_freq", "1"}};

constexpr auto kGlmMoeKeys = Table<KeyRule>(
    kSizeKeys, kRmsEpsKey, kExpertKeys, kExpertGroupKeys, HeadSizeKeys(Param::kHeadDim),
    kFileTypeKey, KeyRule{"rope.dimension_count", ValueType::kU32, Param::kRopeDims},
    KeyRule{"expert_feed_forward_length", ValueType::kU32, Param::kExpertFfn},
    KeyRule{"expert_shared_count", ValueType::kU32, Param::kSharedCount},
    KeyRule{"leading_dense_block_count", ValueType::kU32, Param::kDenseLayers},
    KeyRule{.key = "expert_gating_func", .constant = 2},
    KeyRule{"expert_weights_scale", ValueType::kF32, Param::kExpertScale},
    KeyRule{"expert_weights_norm", ValueType::kBool, Param::kNormTopkProb}, kDraftKey);

bool HasGlmQkNorms(const FamilyContext& context, uint64_t) {
  return context.hyper.flag(Param::kQkNorm);
}

constexpr auto kGlmMoeTensors = Table<TensorRule>(
    kEnds, kOutputOfTied, kAttentionNorm, AttentionTensors(Param::kAttentionBias, Param::kNone),
    Where(HasGlmQkNorms, kHeadNorms), kPostAttentionNorm, GatedMlp(Param::kNone, IsDense),
    ExpertTensors(Param::kExpertFfn), kSelectionBias, kSharedExpertTensors);

constexpr std::array<TensorRule, 6> kGlmDraftTensors = {{
    {"blk.*.nextn.eh_proj.weight", "model.layers.*.eh_proj.weight", Param::kWidth,
     Param::kTwoWidth},
    {"blk.*.nextn.embed_tokens.weight", "model.layers.*.embed_tokens.weight", Param::kVocab,
     Param::kWidth},
    {"blk.*.nextn.enorm.weight", "model.layers.*.enorm.weight", Param::kWidth},
    {"blk.*.nextn.hnorm.weight", "model.layers.*.hnorm.weight", Param::kWidth},
    {"blk.*.nextn.shared_head_head.weight", "model.layers.*.shared_head.head.weight", Param::kVocab,
     Param::kWidth},
    {"blk.*.nextn.shared_head_norm.weight", "model.layers.*.shared_head.norm.weight",
     Param::kWidth},
}};

absl::Status DeriveGlmMoe(FamilyContext& context) {
  context.hyper.Set(Param::kTwoWidth, 2 * context.hyper.real(Param::kWidth));
  return ReadRoutedExperts(context);
}

}  // namespace

const Family kGlm4 = {
    .names = kGlm4Names,
    .model_type = "glm4",
    .architecture = kGlm4Architecture,
    .hypers = kGlm4Hypers,
    .fixed = {},
    .keys = kGlm4Keys,
    .tensors = kGlm4Tensors,
    .checked = "drawn",
    .rope = {.partial = 0.5},
    .partial_rotary = true,
};

const Family kGlm4Moe = {
    .names = kGlmMoeNames,
    .model_type = "glm4_moe",
    .architecture = kGlm4MoeArchitecture,
    .hypers = kGlmMoeHypers,
    .fixed = kGlmMoeFixed,
    .keys = kGlmMoeKeys,
    .tensors = kGlmMoeTensors,
    .rope = {.partial = 0.5},
    .partial_rotary = true,
    .draft = {.mark = "model.layers.*.eh_proj.weight", .tensors = kGlmDraftTensors},
    .derive = DeriveGlmMoe,
};

}  // namespace smelt
