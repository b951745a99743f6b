// ERNIE 4.5 (dense): rotation in pairs.
// Defaults: transformers models/ernie4_5/configuration_ernie4_5.py.
#include "lib/model/families/families.h"

namespace smelt {

const Architecture kErnie45Architecture = {.name = "ernie4_5", .rope = RopeStyle::kInterleaved};

namespace {

constexpr std::string_view kNames[] = {"Ernie4_5ForCausalLM", "Ernie4_5_ForCausalLM",
                                       "Ernie4_5Model"};

constexpr auto kHypers = Table<HyperRule>(DecoderHypers({.vocab = 103424,
                                                         .ffn = 3072,
                                                         .heads = 16,
                                                         .kv_heads = Default(2),
                                                         .head_dim = Default(128),
                                                         .context = 131072,
                                                         .eps = RmsEps(1e-5),
                                                         .tied = true}),
                                          Flag(Param::kBias, "use_bias", false));

constexpr auto kKeys =
    Table<KeyRule>(kSizeKeys, kRmsEpsKey, HeadSizeKeys(Param::kHeadDim), kFileTypeKey);

constexpr auto kTensors =
    Table<TensorRule>(kEnds, kAttentionNorm, AttentionTensors(Param::kBias, Param::kBias), kFfnNorm,
                      GatedMlp(Param::kBias));

absl::Status Derive(FamilyContext& context) {
  if (context.hyper.flag(Param::kBias)) context.differences.push_back("cannot load biases");
  return absl::OkStatus();
}

}  // namespace

const Family kErnie45 = {
    .names = kNames,
    .model_type = "ernie4_5",
    .architecture = kErnie45Architecture,
    .hypers = kHypers,
    .fixed = {},
    .keys = kKeys,
    .tensors = kTensors,
    .rope = {.theta = 500000},
    .derive = Derive,
};

}  // namespace smelt
