// OLMo (1): layer norms without weights. OLMoE: experts.
// Defaults: transformers models/{olmo,olmoe}/configuration_*.py.
#include "lib/base/status.h"
#include "lib/model/families/families.h"

namespace smelt {

const Architecture kOlmoeArchitecture = {
    .name = "olmoe",
    .qk_norm = QkNorm::kAllHeads,
    .normalize_experts = false,
};

namespace {

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

const Family kOlmoe = {
    .names = kOlmoeNames,
    .model_type = "olmoe",
    .architecture = kOlmoeArchitecture,
    .hypers = kOlmoeHypers,
    .fixed = kFixed,
    .keys = kKeys,
    .tensors = kOlmoeTensors,
    .derive = DeriveOlmoe,
};

}  // namespace smelt
