// Granite (dense): a Llama with multipliers.
// Defaults: transformers models/granite/configuration_granite.py.
#include "lib/model/families/families.h"

namespace smelt {

const Architecture kGraniteArchitecture = {
    .name = "granite",
    .rope = RopeStyle::kInterleaved,
    .rope_switch = true,
    .residual_scale = true,
    .logit_scale = LogitScale::kDivides,
};

namespace {

constexpr std::string_view kGraniteNames[] = {"GraniteForCausalLM", "GraniteModel"};

constexpr auto kGraniteHypers = Table<HyperRule>(
    DecoderHypers(
        {.vocab = 32000, .ffn = 11008, .heads = 32, .context = 2048, .eps = RmsEps(1e-6)}),
    Flag(Param::kAttentionBias, "attention_bias", false), Flag(Param::kMlpBias, "mlp_bias", false),
    Factor(Param::kEmbeddingScale, "embedding_multiplier", 1),
    Factor(Param::kResidualScale, "residual_multiplier", 1),
    Factor(Param::kAttentionScale, "attention_multiplier", 1),
    Factor(Param::kLogitScale, "logits_scaling", 1));

constexpr auto kGraniteKeys =
    Table<KeyRule>(kSizeKeys, kRmsEpsKey, HeadSizeKeys(Param::kGivenHeadDim), kFileTypeKey,
                   KeyRule{"vocab_size", ValueType::kU32, Param::kVocab},
                   KeyRule{"rope.dimension_count", ValueType::kU32, Param::kRopeDims},
                   KeyRule{"attention.scale", ValueType::kF32, Param::kAttentionScale},
                   KeyRule{"embedding_scale", ValueType::kF32, Param::kEmbeddingScale},
                   KeyRule{"residual_scale", ValueType::kF32, Param::kResidualScale},
                   KeyRule{"logit_scale", ValueType::kF32, Param::kLogitScale});

constexpr auto kGraniteTensors =
    Table<TensorRule>(kEnds, kAttentionNorm,
                      AttentionTensors(Param::kAttentionBias, Param::kAttentionBias,
                                       TensorOp::kRotaryQ, TensorOp::kRotaryK),
                      kFfnNorm, GatedMlp(Param::kMlpBias));

}  // namespace

const Family kGranite = {
    .names = kGraniteNames,
    .model_type = "granite",
    .architecture = kGraniteArchitecture,
    .hypers = kGraniteHypers,
    .fixed = {},
    .keys = kGraniteKeys,
    .tensors = kGraniteTensors,
};

}  // namespace smelt
