// Nemotron-4 and Minitron: layer norms whose stored weights are one less, relu squared, half of
// each head rotates. Defaults: transformers models/nemotron/configuration_nemotron.py.
#include "lib/base/status.h"
#include "lib/model/families/families.h"

namespace smelt {

const Architecture kNemotronArchitecture = {
    .name = "nemotron",
    .norm = NormKind::kLayer,
    .gated = false,
    .activation = Activation::kRelu2,
};

namespace {

constexpr std::string_view kNemotronNames[] = {"NemotronForCausalLM", "NemotronModel"};

constexpr auto kNemotronHypers = Table<HyperRule>(
    DecoderHypers({.vocab = 256000,
                   .ffn = 24576,
                   .heads = 48,
                   .head_dim = Default(128),
                   .context = 4096,
                   .eps = Eps("norm_eps", 1e-5)}),
    Flag(Param::kAttentionBias, "attention_bias", false), Flag(Param::kMlpBias, "mlp_bias", false));

constexpr auto kNemotronKeys =
    Table<KeyRule>(kSizeKeys, kRmsEpsKey, HeadSizeKeys(Param::kHeadDim), kFileTypeKey,
                   KeyRule{"vocab_size", ValueType::kU32, Param::kVocab},
                   KeyRule{"attention.layer_norm_epsilon", ValueType::kF32, Param::kEps},
                   KeyRule{"rope.dimension_count", ValueType::kU32, Param::kRopeDims},
                   KeyRule{.key = "rope.scaling.type", .type = ValueType::kString, .text = "none"});

constexpr TensorRule Norm1(std::string_view target, std::string_view source) {
  return {target, source, Param::kWidth, Param::kNone, TensorOp::kAddOne, Param::kAlways};
}

constexpr auto kNemotronTensors = Table<TensorRule>(
    TensorRule{"token_embd.weight", "model.embed_tokens.weight", Param::kVocab, Param::kWidth},
    Norm1("output_norm.weight", "model.norm.weight"),
    If(IsUntied, {"output.weight", "lm_head.weight", Param::kVocab, Param::kWidth}), kOutputOfTied,
    Norm1("blk.*.attn_norm.weight", "model.layers.*.input_layernorm.weight"),
    AttentionTensors(Param::kAttentionBias, Param::kAttentionBias),
    Norm1("blk.*.ffn_norm.weight", "model.layers.*.post_attention_layernorm.weight"),
    PlainMlp(Param::kMlpBias));

absl::Status DeriveNemotron(FamilyContext& context) {
  const Hyper& h = context.hyper;
  if (h(Param::kHeadDim) * h(Param::kHeads) != h(Param::kWidth)) {
    context.differences.push_back(
        "takes the size of a head for hidden_size / num_attention_heads in this architecture");
  }
  return absl::OkStatus();
}

}  // namespace

const Family kNemotron = {
    .names = kNemotronNames,
    .model_type = "nemotron",
    .architecture = kNemotronArchitecture,
    .hypers = kNemotronHypers,
    .fixed = {},
    .keys = kNemotronKeys,
    .tensors = kNemotronTensors,
    .llama_cpp = "takes hidden_size / num_attention_heads for the size of a head",
    .rope = {.partial = 0.5},
    .partial_rotary = true,
    .activation = "relu2",
    .derive = DeriveNemotron,
};

}  // namespace smelt
