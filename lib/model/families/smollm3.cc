// SmolLM3: a Llama of which some layers do not rotate.
// Defaults: transformers models/smollm3/configuration_smollm3.py.
#include "lib/base/status.h"
#include "lib/model/families/families.h"

namespace smelt {

const Architecture kSmolLm3Architecture = {
    .name = "smollm3",
    .rope = RopeStyle::kInterleaved,
    .unrotated_period = 4,
};

namespace {

constexpr std::string_view kSmollm3Names[] = {"SmolLM3ForCausalLM", "SmolLM3Model"};

constexpr auto kSmollm3Hypers = Table<HyperRule>(
    DecoderHypers({.vocab = 128256,
                   .ffn = 11008,
                   .heads = 16,
                   .kv_heads = Default(4),
                   .context = 32768,
                   .eps = RmsEps(1e-6),
                   .tied = true}),
    HyperRule{Param::kUnrotatedPeriod, "no_rope_layer_interval", HyperKind::kCount, Default(4)},
    Flag(Param::kAttentionBias, "attention_bias", false), Flag(Param::kMlpBias, "mlp_bias", false));

constexpr FixedRule kSmollm3Fixed[] = {{"use_sliding_window", "false"}};

constexpr auto kSmollm3Keys =
    Table<KeyRule>(kSizeKeys, kRmsEpsKey, HeadSizeKeys(Param::kGivenHeadDim), kFileTypeKey,
                   KeyRule{"vocab_size", ValueType::kU32, Param::kVocab},
                   KeyRule{"rope.dimension_count", ValueType::kU32, Param::kRopeDims});

constexpr auto kSmollm3Tensors =
    Table<TensorRule>(kEnds, kAttentionNorm,
                      AttentionTensors(Param::kAttentionBias, Param::kAttentionBias,
                                       TensorOp::kRotaryQ, TensorOp::kRotaryK),
                      kFfnNorm, GatedMlp(Param::kMlpBias));

/// `no_rope_layers` has 1 for a layer that does rotate.
absl::Status DeriveSmollm3(FamilyContext& context) {
  const uint64_t layers = context.hyper(Param::kLayers);
  SMELT_ASSIGN_OR_RETURN(const std::vector<double> listed, context.config.Reals("no_rope_layers"));
  if (context.config.Has("no_rope_layers") && listed.size() != layers) {
    return context.config.Bad(
        "no_rope_layers",
        Cat("has ", listed.size(), " entries, expected one for each of ", layers, " layers"));
  }
  for (uint64_t i = 0; i < layers; ++i) {
    context.rotated.push_back(listed.empty() ? (i + 1) % context.hyper(Param::kUnrotatedPeriod) != 0
                                             : listed[i] != 0);
  }
  return NoteAttentionBias(context);
}

}  // namespace

const Family kSmolLm3 = {
    .names = kSmollm3Names,
    .model_type = "smollm3",
    .architecture = kSmolLm3Architecture,
    .hypers = kSmollm3Hypers,
    .fixed = kSmollm3Fixed,
    .keys = kSmollm3Keys,
    .tensors = kSmollm3Tensors,
    .llama_cpp = "rotates all layers but every 4th, whatever the model does",
    .rope = {.theta = 2000000},
    .derive = DeriveSmollm3,
};

}  // namespace smelt
