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

constexpr std::string_view kGptneoxNames[] = {"GPTNeoXForCausalLM", "GPTNeoXModel"};

constexpr HyperRule kGptneoxHypers[] = {
    kLayers,
    kWidth,
    Vocab(50432),
    Ffn(24576),
    Heads(64),
    Context(2048),
    {Param::kEps, "layer_norm_eps", HyperKind::kReal, Default(1e-5), 0, 1e3},
    Tied(false),
    Flag(Param::kAttentionBias, "attention_bias", true),
    Flag(Param::kParallel, "use_parallel_residual", true),
};

constexpr KeyRule kGptneoxKeys[] = {
    {"context_length", ValueType::kU32, Param::kContext},
    {"embedding_length", ValueType::kU32, Param::kWidth},
    {"block_count", ValueType::kU32, Param::kLayers},
    {"feed_forward_length", ValueType::kU32, Param::kFfn},
    {"rope.dimension_count", ValueType::kU32, Param::kRopeDims},
    {"attention.head_count", ValueType::kU32, Param::kHeads},
    {"use_parallel_residual", ValueType::kBool, Param::kParallel},
    {"attention.layer_norm_epsilon", ValueType::kF32, Param::kEps},
    kRopeKeys,
    kFileTypeKey,
};

constexpr TensorRule kGptneoxTensors[] = {
    {"token_embd.weight", "gpt_neox.embed_in.weight", Param::kVocab, Param::kWidth},
    {"output_norm.weight", "gpt_neox.final_layer_norm.weight", Param::kWidth, Param::kNone,
     TensorOp::kCopy, Param::kAlways},
    If(IsUntied,
       {"output.weight", "embed_out.weight|lm_head.weight", Param::kVocab, Param::kWidth}),
    // llama.cpp wants an output matrix of this architecture, tied or not.
    If(IsTied, {"output.weight", "gpt_neox.embed_in.weight", Param::kVocab, Param::kWidth}),
    {"blk.*.attn_norm.weight", "gpt_neox.layers.*.input_layernorm.weight", Param::kWidth,
     Param::kNone, TensorOp::kCopy, Param::kAlways},
    {"blk.*.attn_qkv.weight", "gpt_neox.layers.*.attention.query_key_value.weight", Param::kQkv,
     Param::kWidth, TensorOp::kHeadMajor, Param::kAttentionBias},
    {"blk.*.attn_output.weight", "gpt_neox.layers.*.attention.dense.weight", Param::kWidth,
     Param::kQ, TensorOp::kCopy, Param::kAttentionBias},
    {"blk.*.ffn_norm.weight", "gpt_neox.layers.*.post_attention_layernorm.weight", Param::kWidth,
     Param::kNone, TensorOp::kCopy, Param::kAlways},
    {"blk.*.ffn_up.weight", "gpt_neox.layers.*.mlp.dense_h_to_4h.weight", Param::kFfn,
     Param::kWidth, TensorOp::kCopy, Param::kAlways},
    {"blk.*.ffn_down.weight", "gpt_neox.layers.*.mlp.dense_4h_to_h.weight", Param::kWidth,
     Param::kFfn, TensorOp::kCopy, Param::kAlways},
};

absl::Status DeriveGptneox(FamilyContext& context) {
  // transformers would take the rotation's frequencies from it, and nothing else.
  SMELT_ASSIGN_OR_RETURN(const std::optional<uint64_t> head_dim, context.config.Count("head_dim"));
  if (head_dim && *head_dim != context.hyper(Param::kHeadDim)) {
    return context.config.Bad(
        "head_dim",
        Cat("is ", *head_dim, ", but the heads of this family have ",
            "hidden_size / num_attention_heads = ", context.hyper(Param::kHeadDim), " values"));
  }
  if (!context.hyper.flag(Param::kAttentionBias))
    context.differences.push_back("cannot load this architecture without attention biases");
  return absl::OkStatus();
}

}  // namespace

const Family kGptNeox = {
    .names = kGptneoxNames,
    .model_type = "gpt_neox",
    .architecture = kGptNeoxArchitecture,
    .hypers = kGptneoxHypers,
    .fixed = {},
    .keys = kGptneoxKeys,
    .tensors = kGptneoxTensors,
    .body = "gpt_neox.",
    .head = "embed_out.weight|lm_head.weight",
    .rope = {.partial = 0.25, .theta_key = "rotary_emb_base", .partial_key = "rotary_pct"},
    .partial_rotary = true,
    .activation = "gelu",
    .derive = DeriveGptneox,
};

}  // namespace smelt
