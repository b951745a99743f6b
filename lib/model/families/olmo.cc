// OLMo (1): layer norms without weights. OLMoE: experts.
// Defaults: transformers models/{olmo,olmoe}/configuration_*.py.
#include "lib/base/status.h"
#include "lib/model/families/families.h"

namespace smelt {

const Architecture kOlmoArchitecture = {
    .name = "olmo",
    .norm = NormKind::kLayer,
    .unweighted_norms = true,
    .rope = RopeStyle::kInterleaved,
    .clamped_qkv = true,
};
const Architecture kOlmoeArchitecture = {
    .name = "olmoe",
    .qk_norm = QkNorm::kAllHeads,
    .normalize_experts = false,
};

namespace {

constexpr std::string_view kOlmoNames[] = {"OlmoForCausalLM", "OlmoModel"};

constexpr auto kOlmoHypers =
    Table<HyperRule>(DecoderHypers({.vocab = 50304, .ffn = 11008, .heads = 32, .context = 2048}),
                     Flag(Param::kAttentionBias, "attention_bias", false),
                     HyperRule{Param::kClamp, "clip_qkv", HyperKind::kReal, kAbsent, 1e-9, 1e9});

// The class's layer norms have no weights, and this epsilon.
constexpr auto kOlmoKeys = Table<KeyRule>(
    kSizeKeys, HeadSizeKeys(Param::kGivenHeadDim), kFileTypeKey,
    KeyRule{.key = "attention.layer_norm_epsilon", .type = ValueType::kF32, .constant = 1e-5},
    KeyRule{"attention.clamp_kqv", ValueType::kF32, Param::kClamp});

constexpr auto kOlmoTensors = Table<TensorRule>(
    TensorRule{"token_embd.weight", "model.embed_tokens.weight", Param::kVocab, Param::kWidth},
    If(IsUntied, {"output.weight", "lm_head.weight", Param::kVocab, Param::kWidth}),
    AttentionTensors(Param::kAttentionBias, Param::kAttentionBias, TensorOp::kRotaryQ,
                     TensorOp::kRotaryK),
    GatedMlp());

constexpr std::string_view kOlmoeNames[] = {"OlmoeForCausalLM", "OlmoeModel"};

constexpr auto kOlmoeHypers = Table<HyperRule>(
    DecoderHypers({.vocab = 50304, .ffn = 2048, .heads = 16, .context = 4096, .eps = RmsEps(1e-5)}),
    Flag(Param::kAttentionBias, "attention_bias", false), NumExperts(64), ExpertsUsed(8),
    Flag(Param::kNormTopkProb, "norm_topk_prob", false));

constexpr FixedRule kFixed[] = {{"clip_qkv", "null"}};

constexpr auto kKeys = Table<KeyRule>(kSizeKeys, kRmsEpsKey, kExpertKeys,
                                      HeadSizeKeys(Param::kGivenHeadDim), kFileTypeKey);

constexpr auto kOlmoeTensors =
    Table<TensorRule>(kEnds, kOutputOfTied, kAttentionNorm,
                      AttentionTensors(Param::kAttentionBias, Param::kAttentionBias), kAllHeadNorms,
                      kFfnNorm, ExpertTensors(Param::kFfn));

absl::Status DeriveOlmoe(FamilyContext& context) {
  WriteExpertNormalization(context);
  return NoteAttentionBias(context);
}

}  // namespace

const Family kOlmo = {
    .names = kOlmoNames,
    .model_type = "olmo",
    .architecture = kOlmoArchitecture,
    .hypers = kOlmoHypers,
    .fixed = {},
    .keys = kOlmoKeys,
    .tensors = kOlmoTensors,
    .checked = "drawn",
    .derive = NoteAttentionBias,
};

const Family kOlmoe = {
    .names = kOlmoeNames,
    .model_type = "olmoe",
    .architecture = kOlmoeArchitecture,
    .hypers = kOlmoeHypers,
    .fixed = kFixed,
    .keys = kKeys,
    .tensors = kOlmoeTensors,
    .llama_cpp = "never normalises the weights of the chosen experts",
    .derive = DeriveOlmoe,
};

}  // namespace smelt
