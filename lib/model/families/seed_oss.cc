// Seed-OSS: biases of q, k and v.
// Defaults: transformers models/seed_oss/configuration_seed_oss.py.
#include "lib/model/families/families.h"

namespace smelt {

const Architecture kSeedOssArchitecture = {.name = "seed_oss", .ffn_norm = "post_attention_norm"};

namespace {

constexpr std::string_view kSeedOssNames[] = {"SeedOssForCausalLM", "SeedOssModel"};

constexpr auto kSeedOssHypers =
    Table<HyperRule>(DecoderHypers({.vocab = 155136,
                                    .ffn = 27648,
                                    .heads = 80,
                                    .kv_heads = Default(8),
                                    .head_dim = Default(128),
                                    .context = 524288,
                                    .eps = RmsEps(1e-6)}),
                     Flag(Param::kAttentionBias, "attention_bias", true),
                     Flag(Param::kOutputBias, "attention_out_bias", false),
                     Flag(Param::kMlpBias, "mlp_bias", false));

constexpr auto kSeedOssKeys =
    Table<KeyRule>(kSizeKeys, kRmsEpsKey, HeadSizeKeys(Param::kHeadDim), kFileTypeKey);

constexpr auto kSeedOssTensors = Table<TensorRule>(
    kEnds, kAttentionNorm, AttentionTensors(Param::kAttentionBias, Param::kOutputBias),
    TensorRule{"blk.*.post_attention_norm.weight", "model.layers.*.post_attention_layernorm.weight",
               Param::kWidth},
    GatedMlp(Param::kMlpBias));

absl::Status DeriveSeedOss(FamilyContext& context) {
  if (context.hyper.flag(Param::kOutputBias) || context.hyper.flag(Param::kMlpBias))
    context.differences.push_back("cannot load biases besides those of q, k and v");
  return absl::OkStatus();
}

}  // namespace

const Family kSeedOss = {
    .names = kSeedOssNames,
    .model_type = "seed_oss",
    .architecture = kSeedOssArchitecture,
    .hypers = kSeedOssHypers,
    .fixed = {},
    .keys = kSeedOssKeys,
    .tensors = kSeedOssTensors,
    .derive = DeriveSeedOss,
};

}  // namespace smelt
