// Hunyuan (dense): q and k are normalised after they are rotated; `alpha` stretches the rotation.
// Defaults: transformers models/hunyuan_v1_dense/configuration_hunyuan_v1_dense.py.
#include <algorithm>
#include <cmath>

#include "lib/base/status.h"
#include "lib/model/families/families.h"

namespace smelt {

const Architecture kHunyuanDenseArchitecture = {
    .name = "hunyuan-dense",
    .qk_norm = QkNorm::kPerHead,
    .norm_after_rope = true,
};

namespace {

constexpr std::string_view kHunyuanNames[] = {"HunYuanDenseV1ForCausalLM", "HunYuanDenseV1Model"};

constexpr auto kHunyuanHypers = Table<HyperRule>(
    DecoderHypers(
        {.vocab = 290943, .ffn = 11008, .heads = 32, .context = 2048, .eps = RmsEps(1e-5)}),
    Flag(Param::kAttentionBias, "attention_bias", false));

// What the releases say of themselves; the class has no such switches.
constexpr FixedRule kHunyuanFixed[] = {{"use_qk_norm", "true"},  {"use_cla", "false"},
                                       {"norm_type", "\"rms\""}, {"use_rotary_pos_emb", "true"},
                                       {"mlp_bias", "false"},    {"num_experts", "1|null"}};

constexpr auto kHunyuanKeys = Table<KeyRule>(
    kSizeKeys, kRmsEpsKey, HeadSizeKeys(Param::kHeadDim), kFileTypeKey,
    KeyRule{.key = "rope.scaling.type",
            .type = ValueType::kString,
            .param = Param::kRopeFactor,
            .text = "none"},
    KeyRule{"rope.scaling.factor", ValueType::kF32, Param::kRopeFactor},
    KeyRule{"rope.scaling.original_context_length", ValueType::kU32, Param::kOriginalContext});

constexpr auto kHunyuanTensors = Table<TensorRule>(
    kEnds, kAttentionNorm, AttentionTensors(Param::kAttentionBias, Param::kAttentionBias),
    TensorRule{"blk.*.attn_q_norm.weight", "model.layers.*.self_attn.query_layernorm.weight",
               Param::kHeadDim},
    TensorRule{"blk.*.attn_k_norm.weight", "model.layers.*.self_attn.key_layernorm.weight",
               Param::kHeadDim},
    kFfnNorm, GatedMlp());

/// theta' = theta alpha^(d / (d - 2)), once for all lengths: a GGUF holds that one, and the context
/// that it was made for.
absl::Status DeriveHunyuan(FamilyContext& context) {
  RopeConfig& rope = context.rope.full;
  Hyper& h = context.hyper;
  if (rope.alpha != 0) {
    const double size = h.real(Param::kHeadDim);
    if (size <= 2) return context.config.Bad("head_dim", "leaves nothing for alpha to stretch");
    rope.theta *= std::pow(rope.alpha, size / (size - 2));
    rope.type = RopeType::kDefault;
    constexpr double kTrained = 262144;
    if (h(Param::kContext) == 32768) h.Set(Param::kContext, kTrained);
    h.Set(Param::kRopeFactor, 1);
    h.Set(Param::kOriginalContext, h.real(Param::kContext));
  }
  return NoteAttentionBias(context);
}

}  // namespace

const Family kHunyuanDense = {
    .names = kHunyuanNames,
    .model_type = "hunyuan_v1_dense",
    .architecture = kHunyuanDenseArchitecture,
    .hypers = kHunyuanHypers,
    .fixed = kHunyuanFixed,
    .keys = kHunyuanKeys,
    .tensors = kHunyuanTensors,
    .rope = {.alpha_stretches = true},
    .ends_with_eod = true,
    .derive = DeriveHunyuan,
};

}  // namespace smelt
