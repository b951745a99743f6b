// dots.llm1: experts chosen by sigmoid scores and a bias, beside shared ones; q and k normalised
// per head. Defaults: transformers models/dots1/configuration_dots1.py.
#include "lib/base/status.h"
#include "lib/model/families/families.h"

namespace smelt {

const Architecture kDots1Architecture = {
    .name = "dots1",
    .qk_norm = QkNorm::kPerHead,
    .gating = Experts::Gating::kSigmoid,
    .expert_sum_epsilon = 1e-20,
    .normalize_experts = false,
};

namespace {

constexpr std::string_view kDots1Names[] = {"Dots1ForCausalLM", "Dots1Model"};

constexpr auto kDots1Hypers = Table<HyperRule>(
    DecoderHypers(
        {.vocab = 152064, .ffn = 10944, .heads = 32, .kv_heads = Default(32), .context = 2048}),
    Flag(Param::kAttentionBias, "attention_bias", false), Window(Default(4096)),
    HyperRule{Param::kMaxWindowLayers, "max_window_layers", HyperKind::kCount, Default(62), 0},
    RoutedHypers({.ffn = Default(1408), .normalize = false}));

// The class has sigmoid scores only; the releases call them so.
constexpr FixedRule kDots1Fixed[] = {{"scoring_func", "\"noaux_tc\"|\"sigmoid\""},
                                     {"moe_layer_freq", "1"}};

constexpr auto kDots1Keys = Table<KeyRule>(
    kSizeKeys, kRmsEpsKey, kExpertKeys, kExpertGroupKeys, HeadSizeKeys(Param::kGivenHeadDim),
    kFileTypeKey, KeyRule{"expert_feed_forward_length", ValueType::kU32, Param::kExpertFfn},
    KeyRule{"expert_shared_feed_forward_length", ValueType::kU32, Param::kSharedFfn},
    KeyRule{"leading_dense_block_count", ValueType::kU32, Param::kDenseLayers},
    KeyRule{"expert_shared_count", ValueType::kU32, Param::kSharedCount},
    KeyRule{"expert_weights_scale", ValueType::kF32, Param::kExpertScale},
    KeyRule{"expert_weights_norm", ValueType::kBool, Param::kNormTopkProb},
    KeyRule{.key = "expert_gating_func", .constant = 2}, kWindowKeys);

constexpr auto kDots1Tensors =
    Table<TensorRule>(kEnds, kOutputOfTied, kAttentionNorm,
                      AttentionTensors(Param::kAttentionBias, Param::kAttentionBias), kHeadNorms,
                      kFfnNorm, GatedMlp(Param::kNone, IsDense), ExpertTensors(Param::kExpertFfn),
                      kSelectionBias, kSharedExpertTensors);

absl::Status DeriveDots1(FamilyContext& context) {
  SMELT_RETURN_IF_ERROR(ReadRoutedExperts(context));
  return NoteAttentionBias(context);
}

}  // namespace

const Family kDots1 = {
    .names = kDots1Names,
    .model_type = "dots1",
    .architecture = kDots1Architecture,
    .hypers = kDots1Hypers,
    .fixed = kDots1Fixed,
    .keys = kDots1Keys,
    .tensors = kDots1Tensors,
    .checked = "drawn",
    .windowed = IsWindowedFromMax,
    .derive = DeriveDots1,
};

}  // namespace smelt
