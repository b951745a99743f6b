// Gemma 4: dense, with experts beside the MLP (26B-A4B), and with per-layer inputs and layers that
// share keys and values (E2B, E4B). Of the models with images and sound the text part.
// Defaults: transformers models/gemma4/configuration_gemma4.py.
#include <algorithm>

#include "lib/base/status.h"
#include "lib/model/families/families.h"

namespace smelt {

const Architecture kGemma4Architecture = {
    .name = "gemma4",
    .post_mixer_norm = "post_attention_norm",
    .post_ffn_norm = "post_ffw_norm",
    .qk_norm = QkNorm::kPerHead,
    .rope_base_window = 10000,
    .rope_scales_windows = false,
    .rope_freqs = true,
    .value_norm = true,
    .attention_scale = 1,
    .activation = Activation::kGeluTanh,
    .scaled_embedding = true,
};

namespace {

constexpr std::string_view kGemma4Names[] = {"Gemma4ForConditionalGeneration", "Gemma4Model"};
constexpr std::string_view kTextNames[] = {"Gemma4ForCausalLM", "Gemma4TextModel"};
constexpr std::string_view kGemma4OfWhole[] = {"tie_word_embeddings"};

constexpr HyperRule CountFrom(uint32_t low, Param param, std::string_view config, Fallback absent) {
  return {param, config, HyperKind::kCount, absent, static_cast<double>(low)};
}

constexpr auto kGemma4Hypers = Table<HyperRule>(
    DecoderHypers({.vocab = 262144,
                   .ffn = 9216,
                   .heads = 8,
                   .kv_heads = Default(4),
                   .head_dim = Default(256),
                   .context = 131072,
                   .tied = true}),
    Window(Default(512)), Flag(Param::kAttentionBias, "attention_bias", false),
    HyperRule{Param::kFinalCap, "final_logit_softcapping", HyperKind::kReal, kAbsent, 1e-6, 1e9},
    CountFrom(2, Param::kGlobalHeadDim, "global_head_dim", Default(512)),
    CountFrom(1, Param::kGlobalKvHeads, "num_global_key_value_heads", kAbsent),
    Flag(Param::kKeysAreValues, "attention_k_eq_v", false),
    CountFrom(0, Param::kSharedKv, "num_kv_shared_layers", Default(0)),
    Flag(Param::kDoubleWide, "use_double_wide_mlp", false),
    CountFrom(0, Param::kPerLayer, "hidden_size_per_layer_input", Default(256)),
    CountFrom(1, Param::kPerLayerVocab, "vocab_size_per_layer_input", Default(262144)),
    Flag(Param::kMoe, "enable_moe_block", false),
    CountFrom(1, Param::kExperts, "num_experts", kAbsent),
    CountFrom(1, Param::kExpertsUsed, "top_k_experts", kAbsent),
    CountFrom(1, Param::kExpertFfn, "moe_intermediate_size", kAbsent));

constexpr FixedRule kGemma4Fixed[] = {{"use_bidirectional_attention", "\"vision\"|null|false"}};

constexpr auto kGemma4Keys = Table<KeyRule>(
    KeyRule{"block_count", ValueType::kU32, Param::kLayers},
    KeyRule{"context_length", ValueType::kU32, Param::kContext},
    KeyRule{"embedding_length", ValueType::kU32, Param::kWidth}, kFfnLengthsKey,
    KeyRule{"attention.head_count", ValueType::kU32, Param::kHeads}, kKvHeadsKey, kRopeKeys,
    kRmsEpsKey, kExpertKeys, HeadSizeKeys(Param::kGlobalHeadDim), kFileTypeKey,
    KeyRule{"final_logit_softcapping", ValueType::kF32, Param::kFinalCap},
    KeyRule{"attention.sliding_window", ValueType::kU32, Param::kWindow},
    KeyRule{"attention.shared_kv_layers", ValueType::kU32, Param::kSharedKv},
    KeyRule{"embedding_length_per_layer_input", ValueType::kU32, Param::kPerLayer}, kWindowFlagsKey,
    KeyRule{"attention.key_length_swa", ValueType::kU32, Param::kHeadDim},
    KeyRule{"attention.value_length_swa", ValueType::kU32, Param::kHeadDim},
    KeyRule{"expert_feed_forward_length", ValueType::kU32, Param::kExpertFfn},
    KeyRule{"rope.dimension_count", ValueType::kU32, Param::kRopeDims},
    KeyRule{"rope.dimension_count_swa", ValueType::kU32, Param::kWindowRopeDims});

bool IsGemma4Windowed(const FamilyContext& context, uint64_t layer) {
  return context.windowed[layer];
}
bool IsFull(const FamilyContext& context, uint64_t layer) { return !context.windowed[layer]; }
bool IsSharing(const FamilyContext& context, uint64_t layer) {
  return layer + context.hyper(Param::kSharedKv) >= context.hyper(Param::kLayers);
}
bool HasWindowKeys(const FamilyContext& context, uint64_t layer) {
  return IsGemma4Windowed(context, layer) && !IsSharing(context, layer);
}
bool HasFullKeys(const FamilyContext& context, uint64_t layer) {
  return IsFull(context, layer) && !IsSharing(context, layer);
}
bool HasFullValues(const FamilyContext& context, uint64_t layer) {
  return HasFullKeys(context, layer) && !context.hyper.flag(Param::kKeysAreValues);
}
// What sharing layers may have all the same, of no influence.
bool MayHaveWindowKeys(const FamilyContext& context, uint64_t layer) {
  return IsGemma4Windowed(context, layer) && IsSharing(context, layer);
}
bool MayHaveFullKeys(const FamilyContext& context, uint64_t layer) {
  return IsFull(context, layer) && IsSharing(context, layer);
}
bool IsWide(const FamilyContext& context, uint64_t layer) {
  return context.hyper.flag(Param::kDoubleWide) && IsSharing(context, layer);
}
bool IsNarrow(const FamilyContext& context, uint64_t layer) { return !IsWide(context, layer); }
bool HasGemma4Experts(const FamilyContext& context, uint64_t) {
  return context.hyper.flag(Param::kMoe);
}
bool HasInputs(const FamilyContext& context, uint64_t) {
  return context.hyper(Param::kPerLayer) != 0;
}

using When = bool (*)(const FamilyContext&, uint64_t);

constexpr std::array<TensorRule, 3> QueryTensors(When when, Param q, Param head) {
  return {{
      If(when, {"blk.*.attn_q.weight", "model.layers.*.self_attn.q_proj.weight", q, Param::kWidth,
                TensorOp::kCopy, Param::kAttentionBias}),
      If(when, {"blk.*.attn_output.weight", "model.layers.*.self_attn.o_proj.weight", Param::kWidth,
                q, TensorOp::kCopy, Param::kAttentionBias}),
      If(when, {"blk.*.attn_q_norm.weight", "model.layers.*.self_attn.q_norm.weight", head}),
  }};
}
constexpr TensorRule Keys(When when, Param kv) {
  return If(when, {"blk.*.attn_k.weight", "model.layers.*.self_attn.k_proj.weight", kv,
                   Param::kWidth, TensorOp::kCopy, Param::kAttentionBias});
}
constexpr TensorRule Values(When when, Param kv) {
  return If(when, {"blk.*.attn_v.weight", "model.layers.*.self_attn.v_proj.weight", kv,
                   Param::kWidth, TensorOp::kCopy, Param::kAttentionBias});
}
constexpr TensorRule KeyNorm(When when, Param head) {
  return If(when, {"blk.*.attn_k_norm.weight", "model.layers.*.self_attn.k_norm.weight", head});
}
constexpr std::array<TensorRule, 3> MlpWhen(When when, Param ffn) {
  return {{
      If(when,
         {"blk.*.ffn_gate.weight", "model.layers.*.mlp.gate_proj.weight", ffn, Param::kWidth}),
      If(when, {"blk.*.ffn_up.weight", "model.layers.*.mlp.up_proj.weight", ffn, Param::kWidth}),
      If(when,
         {"blk.*.ffn_down.weight", "model.layers.*.mlp.down_proj.weight", Param::kWidth, ffn}),
  }};
}
constexpr TensorRule Of(When when, std::string_view target, std::string_view source, Param rows,
                        Param columns = Param::kNone) {
  return If(when, {target, source, rows, columns});
}

constexpr std::array<TensorRule, 8> kGemma4Experts = {{
    Of(HasGemma4Experts, "blk.*.ffn_gate_inp.weight", "model.layers.*.router.proj.weight",
       Param::kExperts, Param::kWidth),
    Of(HasGemma4Experts, "blk.*.ffn_gate_inp.scale", "model.layers.*.router.scale", Param::kWidth),
    Of(HasGemma4Experts, "blk.*.ffn_down_exps.scale", "model.layers.*.router.per_expert_scale",
       Param::kExperts),
    Of(HasGemma4Experts, "blk.*.pre_ffw_norm_2.weight",
       "model.layers.*.pre_feedforward_layernorm_2.weight", Param::kWidth),
    Of(HasGemma4Experts, "blk.*.post_ffw_norm_1.weight",
       "model.layers.*.post_feedforward_layernorm_1.weight", Param::kWidth),
    Of(HasGemma4Experts, "blk.*.post_ffw_norm_2.weight",
       "model.layers.*.post_feedforward_layernorm_2.weight", Param::kWidth),
    // One by one in checkpoints whose experts were quantized.
    If(HasGemma4Experts, OrFused({"blk.*.ffn_gate_up_exps.weight",
                                  "model.layers.*.experts.#.gate_proj.weight|"
                                  "model.layers.*.experts.#.up_proj.weight",
                                  Param::kTwoExpertFfn, Param::kWidth, TensorOp::kPairedExperts},
                                 "model.layers.*.experts.gate_up_proj", TensorOp::kStackedExperts)),
    If(HasGemma4Experts,
       OrFused({"blk.*.ffn_down_exps.weight", "model.layers.*.experts.#.down_proj.weight",
                Param::kWidth, Param::kExpertFfn, TensorOp::kExperts},
               "model.layers.*.experts.down_proj", TensorOp::kStackedExperts)),
}};
constexpr std::array<TensorRule, 6> kInputs = {{
    Of(HasInputs, "per_layer_token_embd.weight", "model.embed_tokens_per_layer.weight",
       Param::kPerLayerVocab, Param::kPerLayerRows),
    Of(HasInputs, "per_layer_model_proj.weight", "model.per_layer_model_projection.weight",
       Param::kPerLayerRows, Param::kWidth),
    Of(HasInputs, "per_layer_proj_norm.weight", "model.per_layer_projection_norm.weight",
       Param::kPerLayer),
    Of(HasInputs, "blk.*.inp_gate.weight", "model.layers.*.per_layer_input_gate.weight",
       Param::kPerLayer, Param::kWidth),
    Of(HasInputs, "blk.*.proj.weight", "model.layers.*.per_layer_projection.weight", Param::kWidth,
       Param::kPerLayer),
    Of(HasInputs, "blk.*.post_norm.weight", "model.layers.*.post_per_layer_input_norm.weight",
       Param::kWidth),
}};

constexpr auto kGemma4Tensors = Table<TensorRule>(
    kEnds, kInputs, kAttentionNorm, QueryTensors(IsGemma4Windowed, Param::kQ, Param::kHeadDim),
    QueryTensors(IsFull, Param::kGlobalQ, Param::kGlobalHeadDim), Keys(HasWindowKeys, Param::kKv),
    Keys(HasFullKeys, Param::kGlobalKv), Values(HasWindowKeys, Param::kKv),
    Values(HasFullValues, Param::kGlobalKv), KeyNorm(HasWindowKeys, Param::kHeadDim),
    KeyNorm(HasFullKeys, Param::kGlobalHeadDim), Optional(Keys(MayHaveWindowKeys, Param::kKv)),
    Optional(Keys(MayHaveFullKeys, Param::kGlobalKv)),
    Optional(Values(MayHaveWindowKeys, Param::kKv)),
    Optional(Values(MayHaveFullKeys, Param::kGlobalKv)),
    Optional(KeyNorm(MayHaveWindowKeys, Param::kHeadDim)),
    Optional(KeyNorm(MayHaveFullKeys, Param::kGlobalHeadDim)), kPostAttentionNorm,
    TensorRule{"blk.*.ffn_norm.weight", "model.layers.*.pre_feedforward_layernorm.weight",
               Param::kWidth},
    kPostFfnNorm, MlpWhen(IsNarrow, Param::kFfn), MlpWhen(IsWide, Param::kTwoFfn), kGemma4Experts,
    Optional({"blk.*.layer_output_scale.weight", "model.layers.*.layer_scalar", Param::kOne}));

absl::Status DeriveGemma4Experts(FamilyContext& context) {
  Hyper& h = context.hyper;
  if (!h.flag(Param::kMoe)) {
    for (Param param : {Param::kExperts, Param::kExpertsUsed, Param::kExpertFfn}) h.Remove(param);
    return absl::OkStatus();
  }
  for (const auto& [param, key] :
       {std::pair(Param::kExperts, "num_experts"), std::pair(Param::kExpertsUsed, "top_k_experts"),
        std::pair(Param::kExpertFfn, "moe_intermediate_size")}) {
    if (!h.Has(param)) return context.config.Bad(key, "is missing, but enable_moe_block is true");
  }
  h.Set(Param::kTwoExpertFfn, 2 * h.real(Param::kExpertFfn));
  return absl::OkStatus();
}

/// Sharing layers take the keys of the last layer of their kind before them.
absl::Status CheckSharing(FamilyContext& context) {
  const Hyper& h = context.hyper;
  const std::vector<bool>& windowed = context.windowed;
  const uint64_t shared = h(Param::kSharedKv);
  if (shared == 0) return absl::OkStatus();
  if (shared >= windowed.size())
    return context.config.Bad("num_kv_shared_layers", Cat("is ", shared, ", which is all layers"));
  const auto first = windowed.end() - static_cast<std::ptrdiff_t>(shared);
  for (auto layer = first; layer != windowed.end(); ++layer) {
    if (std::find(windowed.begin(), first, *layer) != first) continue;
    return context.config.Bad("num_kv_shared_layers",
                              Cat("is ", shared, ", but ", *layer ? "sliding" : "full",
                                  "_attention has no layer before those with keys to share"));
  }
  const uint64_t own = windowed.size() - shared;
  if (own < 2 || windowed[own - 1] || !windowed[own - 2]) {
    context.differences.push_back(
        "takes the shared keys and values of other layers unless a full layer that follows one "
        "with a window comes before those that share");
  }
  return absl::OkStatus();
}

absl::Status DeriveGemma4(FamilyContext& context) {
  Hyper& h = context.hyper;
  const uint64_t layers = h(Param::kLayers), heads = h(Param::kHeads);
  if (!context.windowed.empty() && context.windowed.back()) {
    context.windowed.back() = false;
    context.notes.push_back(
        "the last layer attends to everything whatever layer_types says, here as in transformers");
  }
  const bool other_heads = h.flag(Param::kKeysAreValues) && h.Has(Param::kGlobalKvHeads);
  const uint64_t kv = h(Param::kKvHeads), full_kv = other_heads ? h(Param::kGlobalKvHeads) : kv;
  if (heads % full_kv != 0) {
    return context.config.Bad("num_global_key_value_heads",
                              Cat("is ", full_kv, ", which does not divide the ", heads, " heads"));
  }
  const uint64_t size = h(Param::kGlobalHeadDim);
  const auto set = [&h](Param param, uint64_t value) { h.Set(param, static_cast<double>(value)); };
  set(Param::kGlobalQ, heads * size);
  set(Param::kGlobalKv, full_kv * size);
  set(Param::kRopeDims, size);
  set(Param::kWindowRopeDims, h(Param::kHeadDim));
  set(Param::kPerLayerRows, layers * h(Param::kPerLayer));
  if (h(Param::kPerLayer) != 0 && h(Param::kPerLayerVocab) != h(Param::kVocab)) {
    return context.config.Bad(
        "vocab_size_per_layer_input",
        Cat("is ", h(Param::kPerLayerVocab), ", expected vocab_size ", h(Param::kVocab)));
  }
  for (uint64_t i = 0; i < context.windowed.size(); ++i) {
    if (full_kv != kv)
      context.kv_heads.push_back(static_cast<int32_t>(context.windowed[i] ? kv : full_kv));
    if (h.flag(Param::kDoubleWide) && h(Param::kSharedKv) != 0)
      context.ffn.push_back(static_cast<int32_t>(h(Param::kFfn) << (IsWide(context, i) ? 1 : 0)));
  }
  SMELT_RETURN_IF_ERROR(CheckSharing(context));
  SMELT_RETURN_IF_ERROR(DeriveGemma4Experts(context));
  return NoteAttentionBias(context);
}

bool IsUsuallyWindowed(const Hyper&, uint64_t layer) { return (layer + 1) % 6 != 0; }

constexpr RopeDefaults kGemma4Rope = {
    .local_theta = 10000,
    .proportional = true,
    .parameters = R"({"sliding_attention": {"rope_type": "default", "rope_theta": 10000},
                      "full_attention": {"rope_type": "proportional",
                                         "partial_rotary_factor": 0.25, "rope_theta": 1000000}})"};

Family Gemma4Family(std::span<const std::string_view> names, std::string_view model_type,
                    bool whole) {
  return {
      .names = names,
      .model_type = model_type,
      .architecture = kGemma4Architecture,
      .hypers = kGemma4Hypers,
      .fixed = kGemma4Fixed,
      .keys = kGemma4Keys,
      .tensors = kGemma4Tensors,
      .part = whole ? "text_config" : "",
      .of_whole = whole ? std::span<const std::string_view>(kGemma4OfWhole)
                        : std::span<const std::string_view>(),
      .checked = whole ? "recorded" : "drawn",
      .rope = kGemma4Rope,
      .activation_key = "hidden_activation",
      .activation = "gelu_pytorch_tanh",
      .windowed = IsUsuallyWindowed,
      .llama_cpp_windows = true,
      .derive = DeriveGemma4,
  };
}

}  // namespace

const Family kGemma4Conditional = Gemma4Family(kGemma4Names, "gemma4", true);
const Family kGemma4Text = Gemma4Family(kTextNames, "gemma4_text", false);

}  // namespace smelt
