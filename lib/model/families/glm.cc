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

}  // namespace smelt
