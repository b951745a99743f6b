// GPT-2: learned positions, layer norms, biases, weights stored as (inputs, outputs).
// Defaults: transformers models/gpt2/configuration_gpt2.py.
#include "lib/base/own_keys.h"
#include "lib/base/status.h"
#include "lib/model/families/families.h"

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

constexpr std::string_view kNames[] = {"GPT2LMHeadModel", "GPT2Model"};

constexpr HyperRule kHypers[] = {
    {"layers", "n_layer|num_hidden_layers", HyperKind::kCount, kRequired, 1, 1 << 16},
    {"width", "n_embd|hidden_size"},
    Vocab(50257),
    {"heads", "n_head|num_attention_heads", HyperKind::kCount, Default(12)},
    {"context", "n_positions|n_ctx|max_position_embeddings", HyperKind::kCount, Default(1024), 1,
     1 << 30},
    {"ffn", "n_inner", HyperKind::kCount, kAbsent},
    {"eps", "layer_norm_epsilon", HyperKind::kReal, Default(1e-5), 0, 1e3},
    Tied(true),
    Flag("scaled", "scale_attn_weights", true),
    Flag("scaled_by_layer", "scale_attn_by_inverse_layer_idx", false),
};

constexpr FixedRule kFixed[] = {{"add_cross_attention", "false"}};

constexpr KeyRule kKeys[] = {
    {"block_count", ValueType::kU32, "layers"},
    {"context_length", ValueType::kU32, "context"},
    {"embedding_length", ValueType::kU32, "width"},
    {"feed_forward_length", ValueType::kU32, "ffn"},
    {"attention.head_count", ValueType::kU32, "heads"},
    {"attention.layer_norm_epsilon", ValueType::kF32, "eps"},
    kFileTypeKey,
};

constexpr TensorRule kTensors[] = {
    {"token_embd.weight", "transformer.wte.weight", "vocab", "width"},
    {"position_embd.weight", "transformer.wpe.weight", "context", "width"},
    {"output_norm.weight", "transformer.ln_f.weight", "width", "", TensorOp::kCopy, "always"},
    If(IsUntied, {"output.weight", "lm_head.weight", "vocab", "width"}),
    {"blk.*.attn_norm.weight", "transformer.h.*.ln_1.weight", "width", "", TensorOp::kCopy,
     "always"},
    {"blk.*.attn_qkv.weight", "transformer.h.*.attn.c_attn.weight", "qkv", "width",
     TensorOp::kTranspose, "always"},
    {"blk.*.attn_output.weight", "transformer.h.*.attn.c_proj.weight", "width", "q",
     TensorOp::kTranspose, "always"},
    {"blk.*.ffn_norm.weight", "transformer.h.*.ln_2.weight", "width", "", TensorOp::kCopy,
     "always"},
    {"blk.*.ffn_up.weight", "transformer.h.*.mlp.c_fc.weight", "ffn", "width", TensorOp::kTranspose,
     "always"},
    {"blk.*.ffn_down.weight", "transformer.h.*.mlp.c_proj.weight", "width", "ffn",
     TensorOp::kTranspose, "always"},
};

absl::Status Derive(FamilyContext& context) {
  if (!context.hyper.Has("ffn")) context.hyper.Set("ffn", 4 * context.hyper.real("width"));
  if (!context.hyper.flag("scaled")) WriteAttentionScale(context, 1);
  if (context.hyper.flag("scaled_by_layer")) {
    WriteOwn<bool>(context.extra, "smelt.attention.scale_by_layer", true);
    context.differences.push_back("does not divide attention logits by the layer's number");
  }
  return absl::OkStatus();
}

}  // namespace

const Family kGpt2 = {
    .names = kNames,
    .model_type = "gpt2",
    .architecture = kGpt2Architecture,
    .hypers = kHypers,
    .fixed = kFixed,
    .keys = kKeys,
    .tensors = kTensors,
    .body = "transformer.",
    .rotary = false,
    .activation_key = "activation_function",
    .activation = "gelu_new",
    .derive = Derive,
};

}  // namespace smelt
