// Mistral Small 3.x and its kin, Ministral 3: the text part of a class with a vision part.
// Defaults: transformers models/{mistral,ministral3}/configuration_*.py.
#include "lib/model/families/families.h"

namespace smelt {

const Architecture kMistral3Architecture = {
    .name = "mistral3",
    .rope = RopeStyle::kInterleaved,
    .yarn_log_unit = 1,
    .temperature = true,
};

namespace {

constexpr std::string_view kMistral3Names[] = {"Mistral3ForConditionalGeneration", "Mistral3Model"};
constexpr std::string_view kMinistral3TextNames[] = {"Ministral3ForCausalLM", "Ministral3Model"};
constexpr std::string_view kMistral3OfWhole[] = {"tie_word_embeddings"};

constexpr auto kSmallHypers = Table<HyperRule>(DecoderHypers({.vocab = 32000,
                                                              .ffn = 14336,
                                                              .heads = 32,
                                                              .kv_heads = Default(8),
                                                              .context = 131072,
                                                              .eps = RmsEps(1e-6),
                                                              .tied = true}),
                                               Window(Default(4096)));
/// The tie of the whole is another default than that of the text part alone.
constexpr auto Ministral3Hypers(bool tied) {
  return Table<HyperRule>(DecoderHypers({.vocab = 131072,
                                         .ffn = 14336,
                                         .heads = 32,
                                         .kv_heads = Default(8),
                                         .head_dim = Default(128),
                                         .context = 262144,
                                         .eps = RmsEps(1e-5),
                                         .tied = tied}),
                          Window(kAbsent));
}
constexpr auto kMinistral3Hypers = Ministral3Hypers(true);
constexpr auto kMinistral3TextHypers = Ministral3Hypers(false);

constexpr FixedRule kMistral3Fixed[] = {
    {"attention_bias", "false"}, {"mlp_bias", "false"}, {"rope_interleaved", "false"}};

constexpr auto kMistral3Keys = Table<KeyRule>(
    kSizeKeys, kRmsEpsKey, HeadSizeKeys(Param::kHeadDim), kFileTypeKey,
    KeyRule{"vocab_size", ValueType::kU32, Param::kVocab},
    KeyRule{"rope.dimension_count", ValueType::kU32, Param::kRopeDims},
    KeyRule{"rope.scaling.yarn_log_multiplier", ValueType::kF32, Param::kYarnLog},
    KeyRule{"attention.temperature_scale", ValueType::kF32, Param::kTemperature},
    KeyRule{"attention.temperature_length", ValueType::kU32, Param::kTemperatureLength},
    kWindowKeys);

constexpr auto kMistral3Tensors = Table<TensorRule>(
    kEnds, kAttentionNorm,
    AttentionTensors(Param::kNone, Param::kNone, TensorOp::kRotaryQ, TensorOp::kRotaryK), kFfnNorm,
    GatedMlp());

absl::Status DeriveMistral3(FamilyContext& context) {
  const RopeConfig& rope = context.rope.full;
  if (rope.log_multiplier) context.hyper.Set(Param::kYarnLog, *rope.log_multiplier);
  if (rope.temperature_scale) {
    context.hyper.Set(Param::kTemperature, *rope.temperature_scale);
    // YaRN's original context says it, where there is one.
    if (rope.type != RopeType::kYarn)
      context.hyper.Set(Param::kTemperatureLength, rope.original_context);
  }
  return absl::OkStatus();
}

}  // namespace

const std::span<const KeyRule> kMistral3KeyRules = kMistral3Keys;

const Family kMistralSmall3 = {
    .names = kMistral3Names,
    .model_type = "mistral3",
    .architecture = kMistral3Architecture,
    .hypers = kSmallHypers,
    .fixed = kMistral3Fixed,
    .keys = kMistral3Keys,
    .tensors = kMistral3Tensors,
    .part = "text_config",
    .part_type = "mistral|",
    .of_whole = kMistral3OfWhole,
    .windowed = IsWindowGiven,
    .derive = DeriveMistral3,
};

namespace {

Family Ministral3Family(std::span<const std::string_view> names, std::string_view model_type,
                        std::span<const HyperRule> hypers, bool whole) {
  return {
      .names = names,
      .model_type = model_type,
      .architecture = kMistral3Architecture,
      .hypers = hypers,
      .fixed = kMistral3Fixed,
      .keys = kMistral3Keys,
      .tensors = kMistral3Tensors,
      .part = whole ? "text_config" : "",
      .part_type = whole ? "ministral3" : "",
      .of_whole = whole ? std::span<const std::string_view>(kMistral3OfWhole)
                        : std::span<const std::string_view>(),
      .checked = whole ? "recorded, drawn" : "drawn",
      .rope = {.temperature = true,
               .parameters = R"({"rope_type": "yarn", "rope_theta": 1000000.0, "factor": 16.0,
                               "original_max_position_embeddings": 16384, "beta_fast": 32.0,
                               "beta_slow": 1.0, "mscale_all_dim": 1.0, "mscale": 1.0,
                               "llama_4_scaling_beta": 0.1})"},
      .windowed = IsWindowGiven,
      .derive = DeriveMistral3,
  };
}

}  // namespace

const Family kMinistral3 = Ministral3Family(kMistral3Names, "mistral3", kMinistral3Hypers, true);
const Family kMinistral3Text =
    Ministral3Family(kMinistral3TextNames, "ministral3", kMinistral3TextHypers, false);

}  // namespace smelt
