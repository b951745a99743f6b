// StarCoder2: layer norms, biases, no gate.
// Defaults: transformers models/starcoder2/configuration_starcoder2.py.
#include "lib/base/status.h"
#include "lib/model/families/families.h"

namespace smelt {

const Architecture kStarcoder2Architecture = {
    .name = "starcoder2",
    .norm = NormKind::kLayer,
    .gated = false,
    .activation = Activation::kGeluTanh,
};

namespace {

constexpr std::string_view kStarcoder2Names[] = {"Starcoder2ForCausalLM", "Starcoder2Model"};

constexpr HyperRule kStarcoder2Hypers[] = {
    kLayers,
    kWidth,
    Vocab(49152),
    Ffn(12288),
    Heads(24),
    KvHeads(Default(2)),
    HeadDim(),
    Context(4096),
    {Param::kEps, "norm_epsilon", HyperKind::kReal, Default(1e-5), 0, 1e3},
    Tied(true),
    Flag(Param::kBias, "use_bias", true),
    Window(kAbsent),
};

// The first releases name the norm and the MLP, of which there is one kind.
constexpr FixedRule kStarcoder2Fixed[] = {{"norm_type", "\"layer_norm\""},
                                          {"mlp_type", "\"default\""}};

constexpr auto kStarcoder2Keys =
    Table<KeyRule>(kSizeKeys, KeyRule{"attention.layer_norm_epsilon", ValueType::kF32, Param::kEps},
                   HeadSizeKeys(Param::kGivenHeadDim), kFileTypeKey, kWindowKeys);

constexpr auto kStarcoder2Tensors = Table<TensorRule>(
    TensorRule{"token_embd.weight", "model.embed_tokens.weight", Param::kVocab, Param::kWidth},
    TensorRule{"output_norm.weight", "model.norm.weight", Param::kWidth, Param::kNone,
               TensorOp::kCopy, Param::kAlways},
    If(IsUntied, {"output.weight", "lm_head.weight", Param::kVocab, Param::kWidth}),
    TensorRule{"blk.*.attn_norm.weight", "model.layers.*.input_layernorm.weight", Param::kWidth,
               Param::kNone, TensorOp::kCopy, Param::kAlways},
    AttentionTensors(Param::kBias, Param::kBias),
    TensorRule{"blk.*.ffn_norm.weight", "model.layers.*.post_attention_layernorm.weight",
               Param::kWidth, Param::kNone, TensorOp::kCopy, Param::kAlways},
    TensorRule{"blk.*.ffn_up.weight", "model.layers.*.mlp.c_fc.weight", Param::kFfn, Param::kWidth,
               TensorOp::kCopy, Param::kBias},
    TensorRule{"blk.*.ffn_down.weight", "model.layers.*.mlp.c_proj.weight", Param::kWidth,
               Param::kFfn, TensorOp::kCopy, Param::kBias});

absl::Status DeriveStarcoder2(FamilyContext& context) {
  if (!context.hyper.flag(Param::kBias))
    context.differences.push_back("cannot load this architecture without biases");
  return absl::OkStatus();
}

}  // namespace

const Family kStarcoder2 = {
    .names = kStarcoder2Names,
    .model_type = "starcoder2",
    .architecture = kStarcoder2Architecture,
    .hypers = kStarcoder2Hypers,
    .fixed = kStarcoder2Fixed,
    .keys = kStarcoder2Keys,
    .tensors = kStarcoder2Tensors,
    .llama_cpp = "ignores a sliding window; cannot load a model without biases",
    .activation = "gelu_pytorch_tanh",
    .windowed = IsWindowGiven,
    .layer_types = LayerTypes::kUnheeded,
    .derive = DeriveStarcoder2,
};

}  // namespace smelt
