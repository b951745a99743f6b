// Gemma 1, 2 and 3 (text).
// Defaults: transformers models/{gemma,gemma2,gemma3}/configuration_*.py.
#include <cmath>

#include "lib/base/status.h"
#include "lib/model/families/families.h"

namespace smelt {

const Architecture kGemmaArchitecture = {
    .name = "gemma",
    .activation = Activation::kGeluTanh,
    .scaled_embedding = true,
};
const Architecture kGemma2Architecture = {
    .name = "gemma2",
    .post_mixer_norm = "post_attention_norm",
    .post_ffn_norm = "post_ffw_norm",
    .activation = Activation::kGeluTanh,
    .window_period = 2,
    .layers_scaled_by_width = 46,  // the 27B
    .scaled_embedding = true,
};
const Architecture kGemma3Architecture = {
    .name = "gemma3",
    .post_mixer_norm = "post_attention_norm",
    .post_ffn_norm = "post_ffw_norm",
    .qk_norm = QkNorm::kPerHead,
    .rope_base_window = 10000,
    .rope_scales_windows = false,
    .activation = Activation::kGeluTanh,
    .window_period = 6,
    .layers_scaled_by_width = 62,  // the 27B
    .scaled_embedding = true,
};

namespace {

constexpr std::string_view kGemmaNames[] = {"GemmaForCausalLM", "GemmaModel"};
constexpr std::string_view kGemma2Names[] = {"Gemma2ForCausalLM", "Gemma2Model"};
constexpr std::string_view kGemma3Names[] = {"Gemma3ForCausalLM", "Gemma3TextModel"};
constexpr std::string_view kGemma3ConditionalNames[] = {"Gemma3ForConditionalGeneration"};

constexpr HyperRule kSoftcap(std::string_view name, std::string_view config, Fallback absent) {
  return {name, config, HyperKind::kReal, absent, 1e-6, 1e9, kAbsent};
}

constexpr HyperRule kGemmaHypers[] = {
    kLayers,
    kWidth,
    Vocab(256000),
    Ffn(24576),
    Heads(16),
    KvHeads(Default(16)),
    HeadDim(Default(256)),
    Context(8192),
    RmsEps(1e-6),
    Tied(true),
    Flag("attention_bias", "attention_bias", false),
};
constexpr HyperRule kGemma2Hypers[] = {
    kLayers,
    kWidth,
    Vocab(256000),
    Ffn(9216),
    Heads(8),
    KvHeads(Default(4)),
    HeadDim(Default(256)),
    Context(8192),
    RmsEps(1e-6),
    Tied(true),
    Flag("attention_bias", "attention_bias", false),
    {"query_scalar", "query_pre_attn_scalar", HyperKind::kReal, Default(256), 1e-6, 1e9},
    kSoftcap("attention_cap", "attn_logit_softcapping", Default(50)),
    kSoftcap("final_cap", "final_logit_softcapping", Default(30)),
    Window(Default(4096)),
};
constexpr HyperRule kGemma3Hypers[] = {
    kLayers,
    kWidth,
    Vocab(262208),
    Ffn(9216),
    Heads(8),
    KvHeads(Default(4)),
    HeadDim(Default(256)),
    Context(131072),
    RmsEps(1e-6),
    Tied(true),
    Flag("attention_bias", "attention_bias", false),
    {"query_scalar", "query_pre_attn_scalar", HyperKind::kReal, Default(256), 1e-6, 1e9},
    Window(Default(4096)),
    {"period", "sliding_window_pattern", HyperKind::kCount, Default(6)},
    kSoftcap("final_cap", "final_logit_softcapping", kAbsent),
};
/// The class with a vision part computes its logits without a cap, whatever its text part says.
constexpr std::span kGemma3ConditionalHypers =
    std::span(kGemma3Hypers).first<std::size(kGemma3Hypers) - 1>();

// The classes have these keys, their forward passes do not read them.
constexpr std::string_view kGemma3WithoutEffect[] = {"attn_logit_softcapping"};
constexpr std::string_view kGemma3ConditionalWithoutEffect[] = {"attn_logit_softcapping",
                                                                "final_logit_softcapping"};
// The head is of the whole model, and so is the question whether it is the embedding.
constexpr std::string_view kGemma3OfWhole[] = {"tie_word_embeddings"};

// GGUF has no output matrix for Gemma 1 and 2.
constexpr FixedRule kFixed[] = {{"tie_word_embeddings", "true"},
                                {"use_bidirectional_attention", "false"}};
constexpr FixedRule kGemma3Fixed[] = {{"use_bidirectional_attention", "false"}};

constexpr KeyRule kGemmaKeys[] = {
    {"context_length", ValueType::kU32, "context"},
    {"embedding_length", ValueType::kU32, "width"},
    {"block_count", ValueType::kU32, "layers"},
    {"feed_forward_length", ValueType::kU32, "ffn"},
    {"attention.head_count", ValueType::kU32, "heads"},
    {"attention.head_count_kv", ValueType::kU32, "kv_heads"},
    {"attention.layer_norm_rms_epsilon", ValueType::kF32, "eps"},
    {"attention.key_length", ValueType::kU32, "head_dim"},
    {"attention.value_length", ValueType::kU32, "head_dim"},
    kFileTypeKey,
    {"attn_logit_softcapping", ValueType::kF32, "attention_cap"},
    {"final_logit_softcapping", ValueType::kF32, "final_cap"},
    kWindowKeys,
    kRopeKeys,
};
constexpr auto kGemma3Keys =
    Table<KeyRule>(kSizeKeys, kRmsEpsKey, HeadSizeKeys("head_dim"), kFileTypeKey,
                   KeyRule{"final_logit_softcapping", ValueType::kF32, "final_cap"}, kWindowKeys);

constexpr auto kGemmaTensors = Table<TensorRule>(
    TensorRule{"token_embd.weight", "model.embed_tokens.weight", "vocab", "width"},
    TensorRule{"output_norm.weight", "model.norm.weight", "width", "", TensorOp::kAddOne},
    TensorRule{"blk.*.attn_norm.weight", "model.layers.*.input_layernorm.weight", "width", "",
               TensorOp::kAddOne},
    AttentionTensors("attention_bias", "attention_bias"),
    TensorRule{"blk.*.ffn_norm.weight", "model.layers.*.post_attention_layernorm.weight", "width",
               "", TensorOp::kAddOne},
    GatedMlp());

// What tells Gemma 3 from Gemma 2.
bool IsThird(const FamilyContext& context, uint64_t) {
  return context.family.architecture.qk_norm == QkNorm::kPerHead;
}
bool HasOutput(const FamilyContext& context, uint64_t layer) {
  return IsThird(context, layer) && IsUntied(context, layer);
}

constexpr auto kGemma23Tensors = Table<TensorRule>(
    TensorRule{"token_embd.weight", "model.embed_tokens.weight", "vocab", "width"},
    If(HasOutput, {"output.weight", "lm_head.weight", "vocab", "width"}),
    TensorRule{"output_norm.weight", "model.norm.weight", "width", "", TensorOp::kAddOne},
    TensorRule{"blk.*.attn_norm.weight", "model.layers.*.input_layernorm.weight", "width", "",
               TensorOp::kAddOne},
    AttentionTensors("attention_bias", "attention_bias"),
    If(IsThird, {"blk.*.attn_q_norm.weight", "model.layers.*.self_attn.q_norm.weight", "head_dim",
                 "", TensorOp::kAddOne}),
    If(IsThird, {"blk.*.attn_k_norm.weight", "model.layers.*.self_attn.k_norm.weight", "head_dim",
                 "", TensorOp::kAddOne}),
    TensorRule{"blk.*.post_attention_norm.weight", "model.layers.*.post_attention_layernorm.weight",
               "width", "", TensorOp::kAddOne},
    TensorRule{"blk.*.ffn_norm.weight", "model.layers.*.pre_feedforward_layernorm.weight", "width",
               "", TensorOp::kAddOne},
    GatedMlp(),
    TensorRule{"blk.*.post_ffw_norm.weight", "model.layers.*.post_feedforward_layernorm.weight",
               "width", "", TensorOp::kAddOne});

absl::Status DeriveLaterGemma(FamilyContext& context) {
  WriteAttentionScale(context, 1 / std::sqrt(context.hyper.real("query_scalar")));
  return NoteAttentionBias(context);
}

absl::Status DeriveGemma2(FamilyContext& context) {
  for (const auto& [name, usual] : {std::pair("attention_cap", 50), std::pair("final_cap", 30)}) {
    if (context.hyper.Has(name)) continue;
    const std::string_view what = name[0] == 'a' ? "attention" : "output";
    context.differences.push_back(Cat("caps the ", what, " logits at ", usual));
  }
  return DeriveLaterGemma(context);
}

bool IsGemma2Windowed(const Hyper&, uint64_t layer) { return layer % 2 == 0; }
bool IsGemma3Windowed(const Hyper& h, uint64_t layer) { return (layer + 1) % h("period") != 0; }

}  // namespace

const Family kGemma = {
    .names = kGemmaNames,
    .model_type = "gemma",
    .architecture = kGemmaArchitecture,
    .hypers = kGemmaHypers,
    .fixed = kFixed,
    .keys = kGemmaKeys,
    .tensors = kGemmaTensors,
    .gelu_means_tanh = true,
    .activation = "gelu_pytorch_tanh",
    .derive = NoteAttentionBias,
};

const Family kGemma2 = {
    .names = kGemma2Names,
    .model_type = "gemma2",
    .architecture = kGemma2Architecture,
    .hypers = kGemma2Hypers,
    .fixed = kFixed,
    .keys = kGemmaKeys,
    .tensors = kGemma23Tensors,
    .activation_key = "hidden_activation",
    .activation = "gelu_pytorch_tanh",
    .windowed = IsGemma2Windowed,
    .llama_cpp_windows = true,
    .derive = DeriveGemma2,
};

const Family kGemma3 = {
    .names = kGemma3Names,
    .model_type = "gemma3_text",
    .architecture = kGemma3Architecture,
    .hypers = kGemma3Hypers,
    .fixed = kGemma3Fixed,
    .keys = kGemma3Keys,
    .tensors = kGemma23Tensors,
    .without_effect = kGemma3WithoutEffect,
    .rope = {.theta = 1000000, .local_theta = 10000},
    .activation_key = "hidden_activation",
    .activation = "gelu_pytorch_tanh",
    .windowed = IsGemma3Windowed,
    .llama_cpp_windows = true,
    .rows_by_vocabulary = true,
    .derive = DeriveLaterGemma,
};

const Family kGemma3Conditional = {
    .names = kGemma3ConditionalNames,
    .model_type = "gemma3",
    .architecture = kGemma3Architecture,
    .hypers = kGemma3ConditionalHypers,
    .fixed = kGemma3Fixed,
    .keys = kGemma3Keys,
    .tensors = kGemma23Tensors,
    .part = "text_config",
    .of_whole = kGemma3OfWhole,
    .without_effect = kGemma3ConditionalWithoutEffect,
    .rope = {.theta = 1000000, .local_theta = 10000},
    .activation_key = "hidden_activation",
    .activation = "gelu_pytorch_tanh",
    .windowed = IsGemma3Windowed,
    .llama_cpp_windows = true,
    .rows_by_vocabulary = true,
    .derive = DeriveLaterGemma,
};

}  // namespace smelt
