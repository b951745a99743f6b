// Llama 2, 3, 3.x; Mistral, Codestral and Ministral; Mixtral: GGUF architecture "llama".
// Defaults: transformers models/{llama,mistral,ministral,mixtral}/configuration_*.py.
#include "lib/model/families/families.h"

namespace smelt {

const Architecture kLlamaArchitecture = {
    .name = "llama",
    .rope = RopeStyle::kInterleaved,
};

namespace {

constexpr std::string_view kLlamaNames[] = {"LlamaForCausalLM", "LlamaModel", "LLaMAForCausalLM"};
constexpr std::string_view kMistralNames[] = {"MistralForCausalLM", "MistralModel"};
constexpr std::string_view kMinistralNames[] = {"MinistralForCausalLM", "MinistralModel"};
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
    kLayers,
    kWidth,
    Vocab(32000),
    Ffn(14336),
    Heads(32),
    KvHeads(Default(8)),
    HeadDim(),
    Context(131072),
    RmsEps(1e-6),
    Tied(false),
    Window(Default(4096)),
};

constexpr HyperRule kMixtralHypers[] = {
    kLayers,         kWidth,          Vocab(32000), Ffn(14336),  Heads(32),     KvHeads(Default(8)),
    HeadDim(),       Context(131072), RmsEps(1e-5), Tied(false), NumExperts(8), ExpertsUsed(2),
    Window(kAbsent),
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

}  // namespace

const std::span<const KeyRule> kLlamaKeyRules = kKeys;

const Family kLlama = {
    .names = kLlamaNames,
    .model_type = "llama",
    .architecture = kLlamaArchitecture,
    .hypers = kLlamaHypers,
    .fixed = kLlamaFixed,
    .keys = kKeys,
    .tensors = kDense,
};

// transformers' AutoConfig builds a Ministral of a Mistral that has layer_types, so that they
// decide here too; without them the two are the same.
const Family kMistral = {
    .names = kMistralNames,
    .model_type = "mistral",
    .architecture = kLlamaArchitecture,
    .hypers = kMistralHypers,
    .fixed = kMistralFixed,
    .keys = kKeys,
    .tensors = kDense,
    .windowed = IsWindowGiven,
};

const Family kMinistral = {
    .names = kMinistralNames,
    .model_type = "ministral",
    .architecture = kLlamaArchitecture,
    .hypers = kMistralHypers,
    .fixed = kMistralFixed,
    .keys = kKeys,
    .tensors = kDense,
    .windowed = IsWindowGiven,
};

const Family kMixtral = {
    .names = kMixtralNames,
    .model_type = "mixtral",
    .architecture = kLlamaArchitecture,
    .hypers = kMixtralHypers,
    .fixed = kMistralFixed,
    .keys = kKeys,
    .tensors = kSparse,
    .rope = {.theta = 1000000},
    .windowed = IsWindowGiven,
    .layer_types = LayerTypes::kUnheeded,
};

}  // namespace smelt
