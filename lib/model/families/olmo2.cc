// OLMo 2: norms after the blocks, q and k normalised over all heads at once.
// Defaults: transformers models/olmo2/configuration_olmo2.py.
#include "lib/model/families/families.h"

namespace smelt {

const Architecture kOlmo2Architecture = {
    .name = "olmo2",
    .mixer_norm = "",
    .post_mixer_norm = "post_attention_norm",
    .ffn_norm = "",
    .post_ffn_norm = "post_ffw_norm",
    .qk_norm = QkNorm::kAllHeads,
    .window_period = 4,  // OLMo 3, which shares the architecture
};

namespace {

constexpr std::string_view kNames[] = {"Olmo2ForCausalLM", "Olmo2Model"};

constexpr HyperRule kHypers[] = {
    kLayers,
    kWidth,
    Vocab(50304),
    Ffn(11008),
    Heads(32),
    KvHeads(SameAs(Param::kHeads)),
    HeadDim(),
    Context(2048),
    RmsEps(1e-5),
    Tied(false),
    Flag(Param::kAttentionBias, "attention_bias", false),
};

constexpr auto kKeys =
    Table<KeyRule>(kSizeKeys, kRmsEpsKey, HeadSizeKeys(Param::kGivenHeadDim), kFileTypeKey);

constexpr auto kTensors = Table<TensorRule>(
    kEnds, kOutputOfTied, AttentionTensors(Param::kAttentionBias, Param::kAttentionBias),
    TensorRule{"blk.*.attn_q_norm.weight", "model.layers.*.self_attn.q_norm.weight", Param::kQ,
               Param::kNone},
    TensorRule{"blk.*.attn_k_norm.weight", "model.layers.*.self_attn.k_norm.weight", Param::kKv,
               Param::kNone},
    TensorRule{"blk.*.post_attention_norm.weight", "model.layers.*.post_attention_layernorm.weight",
               Param::kWidth, Param::kNone},
    GatedMlp(),
    TensorRule{"blk.*.post_ffw_norm.weight", "model.layers.*.post_feedforward_layernorm.weight",
               Param::kWidth, Param::kNone});

}  // namespace

const Family kOlmo2 = {
    .names = kNames,
    .model_type = "olmo2",
    .architecture = kOlmo2Architecture,
    .hypers = kHypers,
    .fixed = {},
    .keys = kKeys,
    .tensors = kTensors,
    .derive = NoteAttentionBias,
};

}  // namespace smelt
