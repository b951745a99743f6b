// The makers' own layouts: Meta's (consolidated.NN.pth, params.json), Mistral's
// (consolidated.safetensors, params.json), Codestral-Mamba's. Rotary rows are interleaved already.
// params.json says little; what is missing follows from shapes and from the makers' code.
#include <algorithm>
#include <cmath>

#include "lib/base/status.h"
#include "lib/model/families/families.h"

namespace smelt {
namespace {

constexpr std::string_view kMetaNames[] = {"Meta's params.json"};
constexpr std::string_view kParamsJsonMistralNames[] = {"Mistral's params.json"};
constexpr std::string_view kCodestralNames[] = {"Codestral-Mamba's params.json"};

const RawTensor* FindTensor(const FamilyContext& context, std::string_view name) {
  return context.container.Find(name);
}

// llama.model.ModelArgs of Meta's repositories.
constexpr HyperRule kMetaHypers[] = {
    {Param::kLayers, "n_layers", HyperKind::kCount, kRequired, 1, 1 << 16},
    {Param::kWidth, "dim"},
    {Param::kHeads, "n_heads", HyperKind::kCount},
    {Param::kKvHeads, "n_kv_heads", HyperKind::kCount, SameAs(Param::kHeads)},
    {Param::kMultipleOf, "multiple_of", HyperKind::kCount, Default(256)},
    {Param::kFfnMultiplier, "ffn_dim_multiplier", HyperKind::kReal, Default(1), 1e-3, 1e3,
     Default(1)},
    {Param::kEps, "norm_eps", HyperKind::kReal, Default(1e-5), 0, 1e3},
    Flag(Param::kScaledRope, "use_scaled_rope", false),
    {Param::kRopeFactor, "rope_scaling_factor", HyperKind::kReal, Default(8), 1e-3, 1e6,
     Default(8)},
    {Param::kLowFreqFactor, "rope_low_freq_factor", HyperKind::kReal, Default(1), 1e-3, 1e6,
     Default(1)},
    {Param::kHighFreqFactor, "rope_high_freq_factor", HyperKind::kReal, Default(4), 1e-3, 1e6,
     Default(4)},
};

constexpr TensorRule kNativeTensors[] = {
    {"token_embd.weight", "tok_embeddings.weight", Param::kVocab, Param::kWidth},
    {"output_norm.weight", "norm.weight", Param::kWidth, Param::kNone},
    If(IsUntied, {"output.weight", "output.weight", Param::kVocab, Param::kWidth}),
    {"blk.*.attn_norm.weight", "layers.*.attention_norm.weight", Param::kWidth, Param::kNone},
    {"blk.*.attn_q.weight", "layers.*.attention.wq.weight", Param::kQ, Param::kWidth},
    {"blk.*.attn_k.weight", "layers.*.attention.wk.weight", Param::kKv, Param::kWidth},
    {"blk.*.attn_v.weight", "layers.*.attention.wv.weight", Param::kKv, Param::kWidth},
    {"blk.*.attn_output.weight", "layers.*.attention.wo.weight", Param::kWidth, Param::kQ},
    {"blk.*.ffn_norm.weight", "layers.*.ffn_norm.weight", Param::kWidth, Param::kNone},
    If(IsDense,
       {"blk.*.ffn_gate.weight", "layers.*.feed_forward.w1.weight", Param::kFfn, Param::kWidth}),
    If(IsDense,
       {"blk.*.ffn_up.weight", "layers.*.feed_forward.w3.weight", Param::kFfn, Param::kWidth}),
    If(IsDense,
       {"blk.*.ffn_down.weight", "layers.*.feed_forward.w2.weight", Param::kWidth, Param::kFfn}),
    If(IsSparse, {"blk.*.ffn_gate_inp.weight", "layers.*.feed_forward.gate.weight", Param::kExperts,
                  Param::kWidth}),
    If(IsSparse, {"blk.*.ffn_gate_exps.weight", "layers.*.feed_forward.experts.#.w1.weight",
                  Param::kFfn, Param::kWidth, TensorOp::kExperts}),
    If(IsSparse, {"blk.*.ffn_down_exps.weight", "layers.*.feed_forward.experts.#.w2.weight",
                  Param::kWidth, Param::kFfn, TensorOp::kExperts}),
    If(IsSparse, {"blk.*.ffn_up_exps.weight", "layers.*.feed_forward.experts.#.w3.weight",
                  Param::kFfn, Param::kWidth, TensorOp::kExperts}),
};

constexpr std::string_view kMetaDropped[] = {"rope.freqs"};

/// Rows of the embedding where vocab_size is absent or -1 (it came from the tokenizer).
absl::Status VocabularyFromShape(FamilyContext& context) {
  const RawTensor* embedding = FindTensor(context, "tok_embeddings.weight");
  if (embedding == nullptr || embedding->shape.size() != 2) {
    return Error(ErrorCode::kInvalidInput,
                 "tensor tok_embeddings.weight (token_embd.weight) is missing or no matrix");
  }
  context.hyper.Set(Param::kVocab, static_cast<double>(embedding->shape[0]));
  return absl::OkStatus();
}

absl::Status DeriveMeta(FamilyContext& context) {
  Hyper& h = context.hyper;
  const JsonValue* vocabulary = context.config.Find("vocab_size");
  if (vocabulary != nullptr && vocabulary->as_int() != -1) {
    SMELT_ASSIGN_OR_RETURN(const auto count, context.config.Count("vocab_size", 1, 1 << 24));
    h.Set(Param::kVocab, static_cast<double>(*count));
  } else {
    SMELT_RETURN_IF_ERROR(VocabularyFromShape(context));
  }
  // The switch came with Llama 3, whose code has another default than Llama 2's.
  if (context.config.Has("use_scaled_rope") && !context.config.Has("rope_theta"))
    context.rope.full.theta = context.rope.window.theta = 500000;
  // The feed-forward width as the model's code computes it: two thirds of 4 dim, multiplied,
  // rounded up.
  const double base = std::floor(2.0 * 4 * h.real(Param::kWidth) / 3);
  const double wide = std::floor(h.real(Param::kFfnMultiplier) * base),
               step = h.real(Param::kMultipleOf);
  const double ffn = std::ceil(wide / step) * step;
  if (CheckedInteger<uint32_t>(ffn).value_or(0) == 0)
    return context.config.Bad("ffn_dim_multiplier|multiple_of",
                              Cat("gives a feed-forward part of ", ffn, " values"));
  h.Set(Param::kFfn, ffn);
  RopeConfig& rope = context.rope.full;
  if (h.flag(Param::kScaledRope)) {
    rope.type = RopeType::kLlama3;
    rope.factor = h.real(Param::kRopeFactor);
    rope.low_freq_factor = h.real(Param::kLowFreqFactor);
    rope.high_freq_factor = h.real(Param::kHighFreqFactor);
    rope.original_context = 8192;
    if (rope.high_freq_factor <= rope.low_freq_factor)
      return context.config.Bad("rope_high_freq_factor", "is too small");
  }
  // Nothing says how long the trained context is. Llama 3.1 is scaled; the bases of Llama 3 and
  // Code Llama, and the epsilon of Llama 1, are their own.
  const uint64_t trained = h.flag(Param::kScaledRope)   ? 131072
                           : rope.theta >= 1000000      ? 16384
                           : rope.theta >= 500000       ? 8192
                           : h.real(Param::kEps) < 5e-6 ? 2048
                                                        : 4096;
  h.Set(Param::kContext, static_cast<double>(trained));
  context.notes.push_back(Cat("params.json does not say how long the context is; ", trained,
                              " is assumed, --metadata llama.context_length=N changes it"));
  const bool small = h(Param::kWidth) == 2048 || h(Param::kWidth) == 3072;
  if (h.flag(Param::kScaledRope) && small && !context.config.Has("rope_scaling_factor")) {
    context.notes.push_back(
        "params.json has no rope_scaling_factor; 8 is assumed (Llama 3.1), but Llama 3.2's small "
        "models were trained with 32: for one of these, add it to params.json");
  }
  context.sparse.assign(h(Param::kLayers), false);
  return absl::OkStatus();
}

// mistral_inference's TransformerArgs.
constexpr HyperRule kParamsJsonMistralHypers[] = {
    {Param::kLayers, "n_layers", HyperKind::kCount, kRequired, 1, 1 << 16},
    {Param::kWidth, "dim"},
    {Param::kHeads, "n_heads", HyperKind::kCount},
    {Param::kKvHeads, "n_kv_heads", HyperKind::kCount, SameAs(Param::kHeads)},
    {Param::kHeadDim, "head_dim", HyperKind::kCount, kAbsent, 1, 1 << 16},
    {Param::kFfn, "hidden_dim"},
    {Param::kVocab, "vocab_size"},
    {Param::kEps, "norm_eps", HyperKind::kReal, Default(1e-5), 0, 1e3},
    {Param::kContext, "max_position_embeddings|max_seq_len", HyperKind::kCount, Default(131072), 1,
     1 << 30},
    Flag(Param::kTied, "tied_embeddings", false),
    Window(kAbsent),
};

constexpr FixedRule kParamsJsonMistralFixed[] = {
    {"use_biases", "false"}, {"lora", "null"}, {"causal", "true"}};

absl::Status ReadMistralYarn(FamilyContext& context) {
  SMELT_ASSIGN_OR_RETURN(const Config yarn, context.config.Nested("yarn"));
  RopeConfig& rope = context.rope.full;
  rope.type = RopeType::kYarn;
  SMELT_ASSIGN_OR_RETURN(const auto factor, yarn.Real("factor"));
  SMELT_ASSIGN_OR_RETURN(const auto original, yarn.Real("original_max_position_embeddings"));
  SMELT_ASSIGN_OR_RETURN(rope.beta_fast, yarn.Real("beta"));
  SMELT_ASSIGN_OR_RETURN(rope.beta_slow, yarn.Real("alpha"));
  SMELT_ASSIGN_OR_RETURN(const auto scaled, yarn.Flag("apply_scale"));
  if (CheckedFloat(factor.value_or(0)).value_or(0) <= 0 ||
      CheckedInteger<uint32_t>(original.value_or(0)).value_or(0) == 0) {
    return context.config.Bad("yarn",
                              "lacks a positive factor or a count of positions "
                              "(original_max_position_embeddings)");
  }
  for (const auto& [key, value] :
       {std::pair("beta", rope.beta_fast), std::pair("alpha", rope.beta_slow)}) {
    if (value && CheckedFloat(*value).value_or(0) <= 0)
      return context.config.Bad("yarn", Cat("has ", key, " ", *value, ", expected more than 0"));
  }
  rope.factor = *factor;
  rope.has_factor = true;
  rope.original_context = *original;
  if (!scaled.value_or(true)) rope.attention_factor = 1.0;
  return absl::OkStatus();
}

/// How queries are scaled by their position; of YaRN then, as transformers' and llama.cpp's
/// converters have it, cosine and sine keep their length, and mscale_all_dim is 1.
absl::Status ReadMistralTemperature(FamilyContext& context) {
  SMELT_ASSIGN_OR_RETURN(const Config scaling, context.config.Nested("llama_4_scaling"));
  SMELT_ASSIGN_OR_RETURN(const auto beta, scaling.Real("beta"));
  SMELT_ASSIGN_OR_RETURN(const auto length,
                         scaling.Count("original_max_position_embeddings", 1, 1u << 30));
  if (!beta || !length) {
    return context.config.Bad("llama_4_scaling", "lacks beta or original_max_position_embeddings");
  }
  RopeConfig& rope = context.rope.full;
  rope.temperature_scale = *beta;
  const auto positions = static_cast<double>(*length);
  if (rope.type != RopeType::kYarn) {
    rope.original_context = positions;
    return absl::OkStatus();
  }
  rope.attention_factor = 1.0;
  rope.log_multiplier = rope.mscale_all_dim = 1.0;
  if (rope.original_context == positions) return absl::OkStatus();
  return context.config.Bad("llama_4_scaling",
                            Cat("has original_max_position_embeddings ", *length, ", but yarn has ",
                                rope.original_context, ": a GGUF has one place for both"));
}

absl::Status DeriveMistral(FamilyContext& context) {
  Hyper& h = context.hyper;
  context.sparse.assign(h(Param::kLayers), false);
  if (context.config.Has("moe")) {
    SMELT_ASSIGN_OR_RETURN(const Config moe, context.config.Nested("moe"));
    SMELT_ASSIGN_OR_RETURN(const auto experts, moe.Count("num_experts", 1, 1 << 16));
    SMELT_ASSIGN_OR_RETURN(const auto used, moe.Count("num_experts_per_tok", 1, 1 << 16));
    if (!experts || !used)
      return context.config.Bad("moe", "lacks num_experts or num_experts_per_tok");
    h.Set(Param::kExperts, static_cast<double>(*experts));
    h.Set(Param::kExpertsUsed, static_cast<double>(*used));
    context.sparse.assign(h(Param::kLayers), true);
  }
  return ReadMistralRotation(context);
}

/// Ministral 3: queries are scaled by their position.
absl::Status DeriveMinistral3(FamilyContext& context) {
  SMELT_RETURN_IF_ERROR(DeriveMistral(context));
  const RopeConfig& rope = context.rope.full;
  Hyper& h = context.hyper;
  h.Set(Param::kTemperature, *rope.temperature_scale);
  // YaRN's original context says it, where there is one.
  if (rope.type != RopeType::kYarn) h.Set(Param::kTemperatureLength, rope.original_context);
  if (rope.log_multiplier) h.Set(Param::kYarnLog, *rope.log_multiplier);
  return absl::OkStatus();
}

constexpr HyperRule kCodestralHypers[] = {
    {Param::kLayers, "n_layers", HyperKind::kCount, kRequired, 1, 1 << 16},
    {Param::kWidth, "dim"},
    {Param::kPublishedVocab, "vocab_size"},
    {Param::kVocabMultiple, "pad_vocab_size_multiple", HyperKind::kCount, Default(1)},
    {Param::kGroups, "n_groups", HyperKind::kCount, Default(1), 1, 1 << 16},  // mamba_ssm's Mamba2
    {Param::kEps, "norm_epsilon", HyperKind::kReal, Default(1e-5), 0, 1e3},
    Flag(Param::kTied, "tie_embeddings", false),
};

constexpr FixedRule kCodestralFixed[] = {{"rms_norm", "true"}};

/// Heads, inner size, state and convolution are in the shapes of the first layer only.
absl::Status DeriveCodestral(FamilyContext& context) {
  Hyper& h = context.hyper;
  const auto shape = [&](std::string_view part,
                         size_t dims) -> absl::StatusOr<std::vector<uint64_t>> {
    const std::string name = Cat("backbone.layers.0.mixer.", part);
    const RawTensor* tensor = FindTensor(context, Cat("model.", name));
    if (tensor == nullptr) tensor = FindTensor(context, name);
    if (tensor == nullptr || tensor->shape.size() != dims) {
      return Error(ErrorCode::kInvalidInput, "tensor ", name,
                   " is missing or has other dimensions than ", dims);
    }
    return tensor->shape;
  };
  SMELT_ASSIGN_OR_RETURN(const auto heads, shape("A_log", 1));
  SMELT_ASSIGN_OR_RETURN(const auto inner, shape("norm.weight", 1));
  SMELT_ASSIGN_OR_RETURN(const auto conv, shape("conv1d.weight", 3));
  const uint64_t groups = h(Param::kGroups), rest = conv[0] < inner[0] ? 0 : conv[0] - inner[0];
  if (heads[0] == 0 || heads[0] % groups != 0 || inner[0] % heads[0] != 0 || rest == 0 ||
      rest % (2 * groups) != 0) {
    return context.config.Bad(
        "n_groups",
        Cat("is ", groups, ", which does not fit the shapes of the first layer's mixer"));
  }
  const uint64_t state = rest / (2 * groups);
  constexpr uint64_t kUsualState = 128;  // mamba_ssm's, which params.json has no word for
  if (!context.config.Has("n_groups") && state != kUsualState) {
    return Error(ErrorCode::kInvalidInput, context.config.name(),
                 ": n_groups is missing, and without it the mixer's state would have ", state,
                 " values, not ", kUsualState);
  }
  const uint64_t multiple = h(Param::kVocabMultiple), vocab = h(Param::kPublishedVocab);
  h.Set(Param::kVocab, static_cast<double>((vocab + multiple - 1) / multiple * multiple));
  h.Set(Param::kInner, static_cast<double>(inner[0]));
  h.Set(Param::kRank, static_cast<double>(heads[0]));
  h.Set(Param::kState, static_cast<double>(state));
  h.Set(Param::kConv, static_cast<double>(conv[2]));
  h.Set(Param::kChannels, static_cast<double>(conv[0]));
  h.Set(Param::kInRows, static_cast<double>(inner[0] + conv[0] + heads[0]));
  h.Set(Param::kGroupSize, static_cast<double>(inner[0] / groups));
  h.Set(Param::kContext, 1048576);
  h.Set(Param::kConvBias, 1);
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadMistralRotation(FamilyContext& context) {
  if (context.config.Has("yarn")) SMELT_RETURN_IF_ERROR(ReadMistralYarn(context));
  if (context.config.Has("llama_4_scaling")) SMELT_RETURN_IF_ERROR(ReadMistralTemperature(context));
  // As mistral_inference takes it where params.json has none: the first models have a window.
  if (!context.config.Has("rope_theta")) {
    context.rope.full.theta = context.hyper.Has(Param::kWindow) ? 10000 : 1000000;
    context.rope.window.theta = context.rope.full.theta;
  }
  return absl::OkStatus();
}

const Family kMeta = {
    .names = kMetaNames,
    .architecture = kLlamaArchitecture,
    .hypers = kMetaHypers,
    .fixed = {},
    .keys = kLlamaKeyRules,
    .tensors = kNativeTensors,
    .body = "",
    .head = "output.weight",
    .dropped = kMetaDropped,
    .activation_key = "",
    .derive = DeriveMeta,
};

const Family kMistralNative = {
    .names = kParamsJsonMistralNames,
    .architecture = kLlamaArchitecture,
    .hypers = kParamsJsonMistralHypers,
    .fixed = kParamsJsonMistralFixed,
    .keys = kLlamaKeyRules,
    .tensors = kNativeTensors,
    .body = "",
    .head = "output.weight",
    .activation_key = "",
    .windowed = IsWindowGiven,
    .derive = DeriveMistral,
};

const Family kMinistral3Native = {
    .names = kParamsJsonMistralNames,
    .architecture = kMistral3Architecture,
    .hypers = kParamsJsonMistralHypers,
    .fixed = kParamsJsonMistralFixed,
    .keys = kMistral3KeyRules,
    .tensors = kNativeTensors,
    .body = "",
    .head = "output.weight",
    .activation_key = "",
    .windowed = IsWindowGiven,
    .derive = DeriveMinistral3,
};

const Family kCodestralMamba = {
    .names = kCodestralNames,
    .architecture = kMamba2Architecture,
    .hypers = kCodestralHypers,
    .fixed = kCodestralFixed,
    .keys = kMamba2KeyRules,
    .tensors = kMamba2TensorRules,
    .body = "backbone.",
    .outer = "model.",
    .rotary = false,
    .activation_key = "",
    .derive = DeriveCodestral,
};

const Family& FamilyOfParams(const Config& params, bool meta) {
  const JsonValue* type = params.Find("model_type");
  if (type != nullptr && type->as_string() != nullptr && *type->as_string() == "mamba")
    return kCodestralMamba;
  if (meta) return kMeta;
  if (params.Has("kv_lora_rank")) return kMistral4Native;
  return params.Has("llama_4_scaling") ? kMinistral3Native : kMistralNative;
}

}  // namespace smelt
