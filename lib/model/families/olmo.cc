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
    .clamped_qkv = true,
    .normalize_experts = false,
};

namespace {

constexpr std::string_view kOlmoNames[] = {"OlmoForCausalLM", "OlmoModel"};

constexpr HyperRule kClamp{Param::kClamp, "clip_qkv", HyperKind::kReal, kAbsent, 1e-9, 1e9};
constexpr KeyRule kClampKey{"attention.clamp_kqv", ValueType::kF32, Param::kClamp};

constexpr auto kOlmoHypers =
    Table<HyperRule>(DecoderHypers({.vocab = 50304, .ffn = 11008, .heads = 32, .context = 2048}),
                     Flag(Param::kAttentionBias, "attention_bias", false), kClamp);

// The class's layer norms have no weights, and this epsilon.
constexpr auto kOlmoKeys = Table<KeyRule>(
    kSizeKeys, HeadSizeKeys(Param::kGivenHeadDim), kFileTypeKey,
    KeyRule{.key = "attention.layer_norm_epsilon", .type = ValueType::kF32, .constant = 1e-5},
    kClampKey);

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
    Flag(Param::kNormTopkProb, "norm_topk_prob", false), kClamp);

constexpr auto kOlmoeKeys =
    Table<KeyRule>(kSizeKeys, kRmsEpsKey, kExpertKeys, HeadSizeKeys(Param::kGivenHeadDim),
                   kFileTypeKey, kClampKey);

constexpr auto kOlmoeTensors =
    Table<TensorRule>(kEnds, kOutputOfTied, kAttentionNorm,
                      AttentionTensors(Param::kAttentionBias, Param::kAttentionBias), kAllHeadNorms,
                      kFfnNorm, ExpertTensors(Param::kFfn));

absl::Status DeriveOlmoe(FamilyContext& context) {
  WriteExpertNormalization(context);
  if (context.hyper.Has(Param::kClamp))
    context.differences.push_back("ignores the limit of queries, keys and values (clip_qkv)");
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
    .fixed = {},
    .keys = kOlmoeKeys,
    .tensors = kOlmoeTensors,
    .llama_cpp = "never normalises the weights of the chosen experts, ignores clip_qkv",
    .derive = DeriveOlmoe,
};

}  // namespace smelt
