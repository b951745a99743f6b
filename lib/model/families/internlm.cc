// InternLM3: a Llama with a switch for the biases of q, k, v and o, and one for those of the
// feed-forward part. Defaults: transformers models/internlm3/configuration_internlm3.py.
#include "lib/model/families/families.h"

namespace smelt {
namespace {

constexpr std::string_view kNames[] = {"InternLM3ForCausalLM", "InternLM3Model"};

constexpr auto kHypers =
    Table<HyperRule>(DecoderHypers({.vocab = 128512,
                                    .ffn = 10240,
                                    .heads = 32,
                                    .kv_heads = Default(2),
                                    .head_dim = Default(128),
                                    .context = 32768,
                                    .eps = RmsEps(1e-5)}),
                     Flag(Param::kAttentionBias, "qkv_bias|attention_bias", false),
                     Flag(Param::kMlpBias, "bias|mlp_bias", false));

constexpr auto kTensors =
    Table<TensorRule>(kEnds, kAttentionNorm,
                      AttentionTensors(Param::kAttentionBias, Param::kAttentionBias,
                                       TensorOp::kRotaryQ, TensorOp::kRotaryK),
                      kFfnNorm, GatedMlp(Param::kMlpBias));

}  // namespace

const Family kInternLm3 = {
    .names = kNames,
    .model_type = "internlm3",
    .architecture = kLlamaArchitecture,
    .hypers = kHypers,
    .fixed = {},
    .keys = kLlamaKeyRules,
    .tensors = kTensors,
    .checked = "drawn",
};

}  // namespace smelt
