// OLMo 2: norms after the blocks, q and k normalised over all heads at once.
// Defaults: transformers models/olmo2/configuration_olmo2.py.
#include "lib/model/families/families.h"

namespace smelt {

const Architecture kOlmo2Architecture = {
    .name = "olmo2",
    .mixer_norm = "",
    .post_mixer_norm = "post_attention_norm",
    .ffn_norm = "",
    .post_ffn_norm = "post_ffw_norm",
    .qk_norm = QkNorm::kAllHeads,
    .window_period = 4,  // OLMo 3, which shares the architecture
};

namespace {

constexpr std::string_view kNames[] = {"Olmo2ForCausalLM", "Olmo2Model"};

constexpr HyperRule kHypers[] = {
    kLayers,
    kWidth,
    Vocab(50304),
    Ffn(11008),
    Heads(32),
    KvHeads(SameAs("heads")),
    HeadDim(),
    Context(2048),
    RmsEps(1e-5),
    Tied(false),
    Flag("attention_bias", "attention_bias", false),
};

constexpr KeyRule kKeys[] = {
    {"block_count", ValueType::kU32, "layers"},
    {"context_length", ValueType::kU32, "context"},
    {"embedding_length", ValueType::kU32, "width"},
    {"feed_forward_length", ValueType::kU32, "ffn"},
    {"attention.head_count", ValueType::kU32, "heads"},
    {"attention.head_count_kv", ValueType::kU32, "kv_heads"},
    kRopeKeys,
    {"attention.layer_norm_rms_epsilon", ValueType::kF32, "eps"},
    {"attention.key_length", ValueType::kU32, "given_head_dim"},
    {"attention.value_length", ValueType::kU32, "given_head_dim"},
    kFileTypeKey,
};

constexpr TensorRule kTensors[] = {
    {"token_embd.weight", "model.embed_tokens.weight", "vocab", "width"},
    {"output_norm.weight", "model.norm.weight", "width", ""},
    If(IsUntied, {"output.weight", "lm_head.weight", "vocab", "width"}),
    // llama.cpp wants an output matrix of this architecture, tied or not.
    If(IsTied, {"output.weight", "model.embed_tokens.weight", "vocab", "width"}),
    {"blk.*.attn_q.weight", "model.layers.*.self_attn.q_proj.weight", "q", "width", TensorOp::kCopy,
     "attention_bias"},
    {"blk.*.attn_k.weight", "model.layers.*.self_attn.k_proj.weight", "kv", "width",
     TensorOp::kCopy, "attention_bias"},
    {"blk.*.attn_v.weight", "model.layers.*.self_attn.v_proj.weight", "kv", "width",
     TensorOp::kCopy, "attention_bias"},
    {"blk.*.attn_output.weight", "model.layers.*.self_attn.o_proj.weight", "width", "q",
     TensorOp::kCopy, "attention_bias"},
    {"blk.*.attn_q_norm.weight", "model.layers.*.self_attn.q_norm.weight", "q", ""},
    {"blk.*.attn_k_norm.weight", "model.layers.*.self_attn.k_norm.weight", "kv", ""},
    {"blk.*.post_attention_norm.weight", "model.layers.*.post_attention_layernorm.weight", "width",
     ""},
    {"blk.*.ffn_gate.weight", "model.layers.*.mlp.gate_proj.weight", "ffn", "width"},
    {"blk.*.ffn_up.weight", "model.layers.*.mlp.up_proj.weight", "ffn", "width"},
    {"blk.*.ffn_down.weight", "model.layers.*.mlp.down_proj.weight", "width", "ffn"},
    {"blk.*.post_ffw_norm.weight", "model.layers.*.post_feedforward_layernorm.weight", "width", ""},
};

absl::Status Derive(FamilyContext& context) {
  if (context.hyper.flag("attention_bias"))
    context.differences.push_back("cannot load attention biases of this architecture");
  return absl::OkStatus();
}

}  // namespace

const Family kOlmo2 = {
    .names = kNames,
    .model_type = "olmo2",
    .architecture = kOlmo2Architecture,
    .hypers = kHypers,
    .fixed = {},
    .keys = kKeys,
    .tensors = kTensors,
    .derive = Derive,
};

}  // namespace smelt
