// Llama 2, 3, 3.x; Mistral and Codestral; Mixtral: GGUF architecture "llama".
// Defaults: transformers models/{llama,mistral,mixtral}/configuration_*.py.
#include "lib/model/families/families.h"

namespace smelt {

const Architecture kLlamaArchitecture = {
    .name = "llama",
    .rope = RopeStyle::kInterleaved,
};

namespace {

constexpr std::string_view kLlamaNames[] = {"LlamaForCausalLM", "LlamaModel", "LLaMAForCausalLM"};
constexpr std::string_view kMistralNames[] = {"MistralForCausalLM", "MistralModel"};
constexpr std::string_view kMixtralNames[] = {"MixtralForCausalLM", "MixtralModel"};

constexpr HyperRule kLlamaHypers[] = {
    kLayers,
    kWidth,
    Vocab(32000),
    Ffn(11008),
    Heads(32),
    KvHeads(SameAs("heads")),
    HeadDim(),
    Context(2048),
    RmsEps(1e-6),
    Tied(false),
    Flag("attention_bias", "attention_bias", false),
    Flag("mlp_bias", "mlp_bias", false),
};

constexpr HyperRule kMistralHypers[] = {
    kLayers,   kWidth,          Vocab(32000), Ffn(14336),  Heads(32), KvHeads(Default(8)),
    HeadDim(), Context(131072), RmsEps(1e-6), Tied(false),
};

constexpr HyperRule kMixtralHypers[] = {
    kLayers,   kWidth,          Vocab(32000), Ffn(14336),  Heads(32),     KvHeads(Default(8)),
    HeadDim(), Context(131072), RmsEps(1e-5), Tied(false), NumExperts(8), ExpertsUsed(2),
};

// The classes have no such switches; a fork that sets them means another model.
constexpr FixedRule kLlamaFixed[] = {{"rope_interleaved", "false"}};
constexpr FixedRule kMistralFixed[] = {
    {"attention_bias", "false"}, {"mlp_bias", "false"}, {"rope_interleaved", "false"}};

constexpr KeyRule kKeys[] = {
    {"block_count", ValueType::kU32, "layers"},
    {"context_length", ValueType::kU32, "context"},
    {"embedding_length", ValueType::kU32, "width"},
    {"feed_forward_length", ValueType::kU32, "ffn"},
    {"attention.head_count", ValueType::kU32, "heads"},
    {"attention.head_count_kv", ValueType::kU32, "kv_heads"},
    kRopeKeys,
    {"attention.layer_norm_rms_epsilon", ValueType::kF32, "eps"},
    {"expert_count", ValueType::kU32, "experts"},
    {"expert_used_count", ValueType::kU32, "experts_used"},
    {"attention.key_length", ValueType::kU32, "head_dim"},
    {"attention.value_length", ValueType::kU32, "head_dim"},
    kFileTypeKey,
    {"vocab_size", ValueType::kU32, "vocab"},
    {"rope.dimension_count", ValueType::kU32, "rope_dims"},
    kWindowKeys,
};

constexpr TensorRule kDense[] = {
    {"token_embd.weight", "model.embed_tokens.weight", "vocab", "width"},
    {"output_norm.weight", "model.norm.weight", "width", ""},
    If(IsUntied, {"output.weight", "lm_head.weight", "vocab", "width"}),
    {"blk.*.attn_norm.weight", "model.layers.*.input_layernorm.weight", "width", ""},
    {"blk.*.attn_q.weight", "model.layers.*.self_attn.q_proj.weight", "q", "width",
     TensorOp::kRotaryQ, "attention_bias"},
    {"blk.*.attn_k.weight", "model.layers.*.self_attn.k_proj.weight", "kv", "width",
     TensorOp::kRotaryK, "attention_bias"},
    {"blk.*.attn_v.weight", "model.layers.*.self_attn.v_proj.weight", "kv", "width",
     TensorOp::kCopy, "attention_bias"},
    {"blk.*.attn_output.weight", "model.layers.*.self_attn.o_proj.weight", "width", "q",
     TensorOp::kCopy, "attention_bias"},
    {"blk.*.ffn_norm.weight", "model.layers.*.post_attention_layernorm.weight", "width", ""},
    {"blk.*.ffn_gate.weight", "model.layers.*.mlp.gate_proj.weight", "ffn", "width",
     TensorOp::kCopy, "mlp_bias"},
    {"blk.*.ffn_up.weight", "model.layers.*.mlp.up_proj.weight", "ffn", "width", TensorOp::kCopy,
     "mlp_bias"},
    {"blk.*.ffn_down.weight", "model.layers.*.mlp.down_proj.weight", "width", "ffn",
     TensorOp::kCopy, "mlp_bias"},
};

constexpr TensorRule kSparse[] = {
    {"token_embd.weight", "model.embed_tokens.weight", "vocab", "width"},
    {"output_norm.weight", "model.norm.weight", "width", ""},
    If(IsUntied, {"output.weight", "lm_head.weight", "vocab", "width"}),
    {"blk.*.attn_norm.weight", "model.layers.*.input_layernorm.weight", "width", ""},
    {"blk.*.attn_q.weight", "model.layers.*.self_attn.q_proj.weight", "q", "width",
     TensorOp::kRotaryQ},
    {"blk.*.attn_k.weight", "model.layers.*.self_attn.k_proj.weight", "kv", "width",
     TensorOp::kRotaryK},
    {"blk.*.attn_v.weight", "model.layers.*.self_attn.v_proj.weight", "kv", "width"},
    {"blk.*.attn_output.weight", "model.layers.*.self_attn.o_proj.weight", "width", "q"},
    {"blk.*.ffn_norm.weight", "model.layers.*.post_attention_layernorm.weight", "width", ""},
    {"blk.*.ffn_gate_inp.weight", "model.layers.*.block_sparse_moe.gate.weight", "experts",
     "width"},
    {"blk.*.ffn_gate_exps.weight", "model.layers.*.block_sparse_moe.experts.#.w1.weight", "ffn",
     "width", TensorOp::kExperts},
    {"blk.*.ffn_down_exps.weight", "model.layers.*.block_sparse_moe.experts.#.w2.weight", "width",
     "ffn", TensorOp::kExperts},
    {"blk.*.ffn_up_exps.weight", "model.layers.*.block_sparse_moe.experts.#.w3.weight", "ffn",
     "width", TensorOp::kExperts},
};

/// A window, where there is one, is of every layer. Mistral's class has 4096 where the key is
/// absent; null means none.
absl::Status DeriveMistral(FamilyContext& context) { return ReadWindowOfAllLayers(context, 4096); }
absl::Status DeriveMixtral(FamilyContext& context) { return ReadWindowOfAllLayers(context, 0); }

}  // namespace

const std::span<const KeyRule> kLlamaKeyRules = kKeys;

const Family kLlama = {
    .names = kLlamaNames,
    .architecture = kLlamaArchitecture,
    .hypers = kLlamaHypers,
    .fixed = kLlamaFixed,
    .keys = kKeys,
    .tensors = kDense,
};

const Family kMistral = {
    .names = kMistralNames,
    .architecture = kLlamaArchitecture,
    .hypers = kMistralHypers,
    .fixed = kMistralFixed,
    .keys = kKeys,
    .tensors = kDense,
    .derive = DeriveMistral,
};

const Family kMixtral = {
    .names = kMixtralNames,
    .architecture = kLlamaArchitecture,
    .hypers = kMixtralHypers,
    .fixed = kMistralFixed,
    .keys = kKeys,
    .tensors = kSparse,
    .rope = {.theta = 1000000},
    .derive = DeriveMixtral,
};

}  // namespace smelt
