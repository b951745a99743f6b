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

constexpr HyperRule Softcap(Param param, std::string_view config, Fallback absent) {
  return {param, config, HyperKind::kReal, absent, 1e-6, 1e9, kAbsent};
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
    Flag(Param::kAttentionBias, "attention_bias", false),
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
    Flag(Param::kAttentionBias, "attention_bias", false),
    {Param::kQueryScalar, "query_pre_attn_scalar", HyperKind::kReal, Default(256), 1e-6, 1e9},
    Softcap(Param::kAttentionCap, "attn_logit_softcapping", Default(50)),
    Softcap(Param::kFinalCap, "final_logit_softcapping", Default(30)),
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
    Flag(Param::kAttentionBias, "attention_bias", false),
    {Param::kQueryScalar, "query_pre_attn_scalar", HyperKind::kReal, Default(256), 1e-6, 1e9},
    Window(Default(4096)),
    {Param::kPeriod, "sliding_window_pattern", HyperKind::kCount, Default(6)},
    Softcap(Param::kFinalCap, "final_logit_softcapping", kAbsent),
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
constexpr FixedRule kGemmaFixed[] = {{"tie_word_embeddings", "true"},
                                     {"use_bidirectional_attention", "false"}};
constexpr FixedRule kGemma3Fixed[] = {{"use_bidirectional_attention", "false"}};

constexpr KeyRule kGemmaKeys[] = {
    {"context_length", ValueType::kU32, Param::kContext},
    {"embedding_length", ValueType::kU32, Param::kWidth},
    {"block_count", ValueType::kU32, Param::kLayers},
    {"feed_forward_length", ValueType::kU32, Param::kFfn},
    {"attention.head_count", ValueType::kU32, Param::kHeads},
    {"attention.head_count_kv", ValueType::kU32, Param::kKvHeads},
    {"attention.layer_norm_rms_epsilon", ValueType::kF32, Param::kEps},
    {"attention.key_length", ValueType::kU32, Param::kHeadDim},
    {"attention.value_length", ValueType::kU32, Param::kHeadDim},
    kFileTypeKey,
    {"attn_logit_softcapping", ValueType::kF32, Param::kAttentionCap},
    {"final_logit_softcapping", ValueType::kF32, Param::kFinalCap},
    kWindowKeys,
    kRopeKeys,
};
constexpr auto kGemma3Keys = Table<KeyRule>(
    kSizeKeys, kRmsEpsKey, HeadSizeKeys(Param::kHeadDim), kFileTypeKey,
    KeyRule{"final_logit_softcapping", ValueType::kF32, Param::kFinalCap}, kWindowKeys);

constexpr auto kGemmaTensors = Table<TensorRule>(
    TensorRule{"token_embd.weight", "model.embed_tokens.weight", Param::kVocab, Param::kWidth},
    TensorRule{"output_norm.weight", "model.norm.weight", Param::kWidth, Param::kNone,
               TensorOp::kAddOne},
    TensorRule{"blk.*.attn_norm.weight", "model.layers.*.input_layernorm.weight", Param::kWidth,
               Param::kNone, TensorOp::kAddOne},
    AttentionTensors(Param::kAttentionBias, Param::kAttentionBias),
    TensorRule{"blk.*.ffn_norm.weight", "model.layers.*.post_attention_layernorm.weight",
               Param::kWidth, Param::kNone, TensorOp::kAddOne},
    GatedMlp());

// What tells Gemma 3 from Gemma 2.
bool IsThird(const FamilyContext& context, uint64_t) {
  return context.family.architecture.qk_norm == QkNorm::kPerHead;
}
bool HasOutput(const FamilyContext& context, uint64_t layer) {
  return IsThird(context, layer) && IsUntied(context, layer);
}

constexpr auto kGemma23Tensors = Table<TensorRule>(
    TensorRule{"token_embd.weight", "model.embed_tokens.weight", Param::kVocab, Param::kWidth},
    If(HasOutput, {"output.weight", "lm_head.weight", Param::kVocab, Param::kWidth}),
    TensorRule{"output_norm.weight", "model.norm.weight", Param::kWidth, Param::kNone,
               TensorOp::kAddOne},
    TensorRule{"blk.*.attn_norm.weight", "model.layers.*.input_layernorm.weight", Param::kWidth,
               Param::kNone, TensorOp::kAddOne},
    AttentionTensors(Param::kAttentionBias, Param::kAttentionBias),
    If(IsThird, {"blk.*.attn_q_norm.weight", "model.layers.*.self_attn.q_norm.weight",
                 Param::kHeadDim, Param::kNone, TensorOp::kAddOne}),
    If(IsThird, {"blk.*.attn_k_norm.weight", "model.layers.*.self_attn.k_norm.weight",
                 Param::kHeadDim, Param::kNone, TensorOp::kAddOne}),
    TensorRule{"blk.*.post_attention_norm.weight", "model.layers.*.post_attention_layernorm.weight",
               Param::kWidth, Param::kNone, TensorOp::kAddOne},
    TensorRule{"blk.*.ffn_norm.weight", "model.layers.*.pre_feedforward_layernorm.weight",
               Param::kWidth, Param::kNone, TensorOp::kAddOne},
    GatedMlp(),
    TensorRule{"blk.*.post_ffw_norm.weight", "model.layers.*.post_feedforward_layernorm.weight",
               Param::kWidth, Param::kNone, TensorOp::kAddOne});

absl::Status DeriveLaterGemma(FamilyContext& context) {
  WriteAttentionScale(context, 1 / std::sqrt(context.hyper.real(Param::kQueryScalar)));
  return NoteAttentionBias(context);
}

absl::Status DeriveGemma2(FamilyContext& context) {
  for (const auto& [cap, usual] :
       {std::pair(Param::kAttentionCap, 50), std::pair(Param::kFinalCap, 30)}) {
    if (context.hyper.Has(cap)) continue;
    const std::string_view what = cap == Param::kAttentionCap ? "attention" : "output";
    context.differences.push_back(Cat("caps the ", what, " logits at ", usual));
  }
  return DeriveLaterGemma(context);
}

bool IsGemma2Windowed(const Hyper&, uint64_t layer) { return layer % 2 == 0; }
bool IsGemma3Windowed(const Hyper& h, uint64_t layer) {
  return (layer + 1) % h(Param::kPeriod) != 0;
}

}  // namespace

const Family kGemma = {
    .names = kGemmaNames,
    .model_type = "gemma",
    .architecture = kGemmaArchitecture,
    .hypers = kGemmaHypers,
    .fixed = kGemmaFixed,
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
    .fixed = kGemmaFixed,
    .keys = kGemmaKeys,
    .tensors = kGemma23Tensors,
    .llama_cpp = "assumes a global layer after each with a window",
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
    .llama_cpp = "assumes a global layer after every 5 with a window, or a period",
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
    .checked = "drawn",
    .llama_cpp = "assumes a global layer after every 5 with a window, or a period",
    .rope = {.theta = 1000000, .local_theta = 10000},
    .activation_key = "hidden_activation",
    .activation = "gelu_pytorch_tanh",
    .windowed = IsGemma3Windowed,
    .llama_cpp_windows = true,
    .rows_by_vocabulary = true,
    .derive = DeriveLaterGemma,
};

}  // namespace smelt
