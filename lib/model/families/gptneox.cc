// GPT-NeoX, Pythia: parallel residual, a part of the head rotates, q, k and v fused head by head.
// Defaults: transformers models/gpt_neox/configuration_gpt_neox.py.
#include "lib/base/status.h"
#include "lib/model/families/families.h"

namespace smelt {

const Architecture kGptNeoxArchitecture = {
    .name = "gptneox",
    .norm = NormKind::kLayer,
    .fused_qkv = true,
    .gated = false,
    .activation = Activation::kGelu,
    .parallel_residual = true,
};

namespace {

constexpr std::string_view kNames[] = {"GPTNeoXForCausalLM", "GPTNeoXModel"};

constexpr HyperRule kHypers[] = {
    kLayers,
    kWidth,
    Vocab(50432),
    Ffn(24576),
    Heads(64),
    Context(2048),
    {"eps", "layer_norm_eps", HyperKind::kReal, Default(1e-5), 0, 1e3},
    Tied(false),
    Flag("attention_bias", "attention_bias", true),
    Flag("parallel", "use_parallel_residual", true),
};

constexpr KeyRule kKeys[] = {
    {"context_length", ValueType::kU32, "context"},
    {"embedding_length", ValueType::kU32, "width"},
    {"block_count", ValueType::kU32, "layers"},
    {"feed_forward_length", ValueType::kU32, "ffn"},
    {"rope.dimension_count", ValueType::kU32, "rope_dims"},
    {"attention.head_count", ValueType::kU32, "heads"},
    {"use_parallel_residual", ValueType::kBool, "parallel"},
    {"attention.layer_norm_epsilon", ValueType::kF32, "eps"},
    kRopeKeys,
    kFileTypeKey,
};

constexpr TensorRule kTensors[] = {
    {"token_embd.weight", "gpt_neox.embed_in.weight", "vocab", "width"},
    {"output_norm.weight", "gpt_neox.final_layer_norm.weight", "width", "", TensorOp::kCopy,
     "always"},
    If(IsUntied, {"output.weight", "embed_out.weight|lm_head.weight", "vocab", "width"}),
    // llama.cpp wants an output matrix of this architecture, tied or not.
    If(IsTied, {"output.weight", "gpt_neox.embed_in.weight", "vocab", "width"}),
    {"blk.*.attn_norm.weight", "gpt_neox.layers.*.input_layernorm.weight", "width", "",
     TensorOp::kCopy, "always"},
    {"blk.*.attn_qkv.weight", "gpt_neox.layers.*.attention.query_key_value.weight", "qkv", "width",
     TensorOp::kHeadMajor, "attention_bias"},
    {"blk.*.attn_output.weight", "gpt_neox.layers.*.attention.dense.weight", "width", "q",
     TensorOp::kCopy, "attention_bias"},
    {"blk.*.ffn_norm.weight", "gpt_neox.layers.*.post_attention_layernorm.weight", "width", "",
     TensorOp::kCopy, "always"},
    {"blk.*.ffn_up.weight", "gpt_neox.layers.*.mlp.dense_h_to_4h.weight", "ffn", "width",
     TensorOp::kCopy, "always"},
    {"blk.*.ffn_down.weight", "gpt_neox.layers.*.mlp.dense_4h_to_h.weight", "width", "ffn",
     TensorOp::kCopy, "always"},
};

absl::Status Derive(FamilyContext& context) {
  // transformers would take the rotation's frequencies from it, and nothing else.
  SMELT_ASSIGN_OR_RETURN(const std::optional<uint64_t> head_dim, context.config.Count("head_dim"));
  if (head_dim && *head_dim != context.hyper("head_dim")) {
    return context.config.Bad(
        "head_dim",
        Cat("is ", *head_dim, ", but the heads of this family have ",
            "hidden_size / num_attention_heads = ", context.hyper("head_dim"), " values"));
  }
  if (!context.hyper.flag("attention_bias"))
    context.differences.push_back("cannot load this architecture without attention biases");
  return absl::OkStatus();
}

}  // namespace

const Family kGptNeox = {
    .names = kNames,
    .model_type = "gpt_neox",
    .architecture = kGptNeoxArchitecture,
    .hypers = kHypers,
    .fixed = {},
    .keys = kKeys,
    .tensors = kTensors,
    .body = "gpt_neox.",
    .head = "embed_out.weight|lm_head.weight",
    .rope = {.partial = 0.25, .theta_key = "rotary_emb_base", .partial_key = "rotary_pct"},
    .partial_rotary = true,
    .activation = "gelu",
    .derive = Derive,
};

}  // namespace smelt
