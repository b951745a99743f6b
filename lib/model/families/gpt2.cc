// GPT-2: learned positions, layer norms, biases, weights stored as (inputs, outputs).
// Defaults: transformers models/gpt2/configuration_gpt2.py.
#include "lib/base/own_keys.h"
#include "lib/base/status.h"
#include "lib/model/families/families.h"
#include "lib/model/families/gpt_rows.h"

namespace smelt {

const Architecture kGpt2Architecture = {
    .name = "gpt2",
    .norm = NormKind::kLayer,
    .rope = RopeStyle::kNone,
    .fused_qkv = true,
    .gated = false,
    .activation = Activation::kGeluTanh,
    .learned_positions = true,
};

namespace {

constexpr std::string_view kGpt2Names[] = {"GPT2LMHeadModel", "GPT2Model"};

constexpr HyperRule kGpt2Hypers[] = {
    {Param::kLayers, "n_layer|num_hidden_layers", HyperKind::kCount, kRequired, 1, 1 << 16},
    {Param::kWidth, "n_embd|hidden_size"},
    Vocab(50257),
    {Param::kHeads, "n_head|num_attention_heads", HyperKind::kCount, Default(12)},
    {Param::kContext, "n_positions|n_ctx|max_position_embeddings", HyperKind::kCount, Default(1024),
     1, 1 << 30},
    {Param::kFfn, "n_inner", HyperKind::kCount, kAbsent},
    {Param::kEps, "layer_norm_epsilon", HyperKind::kReal, Default(1e-5), 0, 1e3},
    Tied(true),
    Flag(Param::kScaledRope, "scale_attn_weights", true),
    Flag(Param::kScaledByLayer, "scale_attn_by_inverse_layer_idx", false),
};

constexpr FixedRule kGpt2Fixed[] = {{"add_cross_attention", "false"}};

constexpr KeyRule kGpt2Keys[] = {
    {"block_count", ValueType::kU32, Param::kLayers},
    {"context_length", ValueType::kU32, Param::kContext},
    {"embedding_length", ValueType::kU32, Param::kWidth},
    {"feed_forward_length", ValueType::kU32, Param::kFfn},
    {"attention.head_count", ValueType::kU32, Param::kHeads},
    {"attention.layer_norm_epsilon", ValueType::kF32, Param::kEps},
    kFileTypeKey,
};

constexpr auto kGpt2Tensors =
    Table<TensorRule>(kGptEnds, GptQkv(TensorOp::kTranspose), GptBlock(TensorOp::kTranspose));

absl::Status DeriveGpt2(FamilyContext& context) {
  if (!context.hyper.Has(Param::kFfn)) {
    context.hyper.Set(Param::kFfn, 4 * context.hyper.real(Param::kWidth));
  }
  if (!context.hyper.flag(Param::kScaledRope)) WriteAttentionScale(context, 1);
  if (context.hyper.flag(Param::kScaledByLayer)) {
    WriteOwn<bool>(context.extra, "smelt.attention.scale_by_layer", true);
    context.differences.push_back("does not divide attention logits by the layer's number");
  }
  return absl::OkStatus();
}

}  // namespace

const Family kGpt2 = {
    .names = kGpt2Names,
    .model_type = "gpt2",
    .architecture = kGpt2Architecture,
    .hypers = kGpt2Hypers,
    .fixed = kGpt2Fixed,
    .keys = kGpt2Keys,
    .tensors = kGpt2Tensors,
    .body = "transformer.",
    .rotary = false,
    .activation_key = "activation_function",
    .activation = "gelu_new",
    .derive = DeriveGpt2,
};

}  // namespace smelt
