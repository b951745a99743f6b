// The text parts of Qwen2-VL, Qwen2.5-VL and Qwen3-VL: for text, the three position streams of
// their rotation are the same. Defaults: transformers
// models/{qwen2_vl,qwen2_5_vl,qwen3_vl,qwen3_vl_moe}/configuration_*.py.
#include "lib/base/status.h"
#include "lib/model/families/families.h"

namespace smelt {

const Architecture kQwen2VlArchitecture = {.name = "qwen2vl"};
const Architecture kQwen3VlArchitecture = {.name = "qwen3vl", .qk_norm = QkNorm::kPerHead};
const Architecture kQwen3VlMoeArchitecture = {.name = "qwen3vlmoe", .qk_norm = QkNorm::kPerHead};

namespace {

constexpr std::string_view kQwen2VlNames[] = {"Qwen2VLForConditionalGeneration", "Qwen2VLModel"};
constexpr std::string_view kQwen25VlNames[] = {"Qwen2_5_VLForConditionalGeneration",
                                               "Qwen2_5_VLModel"};
constexpr std::string_view kQwen3VlNames[] = {"Qwen3VLForConditionalGeneration", "Qwen3VLModel"};
constexpr std::string_view kQwen3VlMoeNames[] = {"Qwen3VLMoeForConditionalGeneration",
                                                 "Qwen3VLMoeModel"};
constexpr std::string_view kQwenVlOfWhole[] = {"tie_word_embeddings"};

constexpr auto kQwen2VlHypers = Table<HyperRule>(
    DecoderHypers({.vocab = 152064,
                   .ffn = 29568,
                   .heads = 64,
                   .kv_heads = Default(8),
                   .context = 32768,
                   .eps = RmsEps(1e-5)}),
    Window(Default(4096)), Flag(Param::kUseWindow, "use_sliding_window", false),
    HyperRule{Param::kMaxWindowLayers, "max_window_layers", HyperKind::kCount, Default(80), 0});
constexpr auto kQwen3VlHypers =
    Table<HyperRule>(DecoderHypers({.vocab = 151936,
                                    .ffn = 22016,
                                    .heads = 32,
                                    .kv_heads = Default(32),
                                    .head_dim = Default(128),
                                    .context = 128000,
                                    .eps = RmsEps(1e-6)}),
                     Flag(Param::kAttentionBias, "attention_bias", false));
constexpr auto kQwen3VlMoeHypers = Table<HyperRule>(
    DecoderHypers({.vocab = 151936,
                   .ffn = 5632,
                   .heads = 16,
                   .kv_heads = Default(16),
                   .head_dim = Default(128),
                   .context = 128000,
                   .eps = RmsEps(1e-6)}),
    Flag(Param::kAttentionBias, "attention_bias", false), NumExperts(60), ExpertsUsed(4),
    HyperRule{Param::kExpertFfn, "moe_intermediate_size", HyperKind::kCount, Default(1408)});

// The class always does; published configurations say so.
constexpr FixedRule kQwen3VlMoeFixed[] = {{"norm_topk_prob", "true"}};

constexpr auto kQwen2VlKeys = Table<KeyRule>(
    kSizeKeys, kRmsEpsKey, HeadSizeKeys(Param::kGivenHeadDim), kFileTypeKey, kWindowKeys);
constexpr KeyRule kDeepstackKey{"n_deepstack_layers", ValueType::kU32, Param::kDeepstack};
constexpr auto kQwen3VlKeys = Table<KeyRule>(kSizeKeys, kRmsEpsKey, HeadSizeKeys(Param::kHeadDim),
                                             kFileTypeKey, kDeepstackKey);
constexpr auto kQwen3VlMoeKeys = Table<KeyRule>(
    kSizeKeys, kRmsEpsKey, kExpertKeys, HeadSizeKeys(Param::kHeadDim), kFileTypeKey,
    KeyRule{"expert_feed_forward_length", ValueType::kU32, Param::kExpertFfn}, kDeepstackKey);

constexpr auto kQwen2VlTensors = Table<TensorRule>(
    kEnds, kAttentionNorm, AttentionTensors(Param::kAlways, Param::kNone), kFfnNorm, GatedMlp());
constexpr auto kQwen3VlTensors = Table<TensorRule>(
    kEnds, kAttentionNorm, AttentionTensors(Param::kAttentionBias, Param::kAttentionBias),
    kHeadNorms, kFfnNorm, GatedMlp());
// Published with inputs before outputs.
constexpr std::array<TensorRule, 3> kQwenVlExperts = {{
    If(IsSparse,
       OrFused({"blk.*.ffn_gate_exps.weight", "model.layers.*.mlp.experts.#.gate_proj.weight",
                Param::kExpertFfn, Param::kWidth, TensorOp::kExperts},
               "model.layers.*.mlp.experts.gate_up_proj", TensorOp::kTransposedExpertsFirst)),
    If(IsSparse,
       OrFused({"blk.*.ffn_up_exps.weight", "model.layers.*.mlp.experts.#.up_proj.weight",
                Param::kExpertFfn, Param::kWidth, TensorOp::kExperts},
               "model.layers.*.mlp.experts.gate_up_proj", TensorOp::kTransposedExpertsSecond)),
    If(IsSparse,
       OrFused({"blk.*.ffn_down_exps.weight", "model.layers.*.mlp.experts.#.down_proj.weight",
                Param::kWidth, Param::kExpertFfn, TensorOp::kExperts},
               "model.layers.*.mlp.experts.down_proj", TensorOp::kTransposedExperts)),
}};
constexpr auto kQwen3VlMoeTensors = Table<TensorRule>(
    kEnds, kAttentionNorm, AttentionTensors(Param::kAttentionBias, Param::kAttentionBias),
    kHeadNorms, kFfnNorm, GatedMlp(Param::kNone, IsDense),
    If(IsSparse, {"blk.*.ffn_gate_inp.weight", "model.layers.*.mlp.gate.weight", Param::kExperts,
                  Param::kWidth}),
    kQwenVlExperts);

/// Of the vision part: how many of its layers go into those of the text part.
absl::StatusOr<double> DeepstackLayers(const Config& whole) {
  constexpr double kOfClass = 3;
  const JsonValue* vision = whole.Find("vision_config");
  if (vision == nullptr) return kOfClass;
  if (!vision->is_object())
    return whole.Bad("vision_config",
                     Cat("is of type ", vision->KindName(), ", expected an object"));
  const JsonValue* indexes = vision->Find("deepstack_visual_indexes");
  if (indexes == nullptr) return kOfClass;
  if (!indexes->is_array()) {
    return whole.Bad("vision_config", Cat("has deepstack_visual_indexes that are a ",
                                          indexes->KindName(), ", expected a list of layers"));
  }
  return static_cast<double>(indexes->as_array()->size());
}

absl::Status DeriveQwen3Vl(FamilyContext& context) {
  const Config* whole = context.config.Outer();
  if (whole != nullptr) {
    SMELT_ASSIGN_OR_RETURN(const double layers, DeepstackLayers(*whole));
    context.hyper.Set(Param::kDeepstack, layers);
  }
  context.differences.push_back(
      "leaves some pairs of the rotation still that turn in the text model");
  return NoteAttentionBias(context);
}

absl::Status DeriveQwen3VlMoe(FamilyContext& context) {
  SMELT_RETURN_IF_ERROR(DeriveQwen3Vl(context));
  return ReadSparseLayers(context);
}

absl::Status DeriveQwen2Vl(FamilyContext& context) {
  context.differences.push_back("takes 0 for rms_norm_eps");
  return absl::OkStatus();
}

Family Qwen2VlFamily(std::span<const std::string_view> names, std::string_view model_type,
                     std::string_view checked) {
  return {
      .names = names,
      .model_type = model_type,
      .architecture = kQwen2VlArchitecture,
      .hypers = kQwen2VlHypers,
      .fixed = {},
      .keys = kQwen2VlKeys,
      .tensors = kQwen2VlTensors,
      .part = "text_config",
      .part_optional = true,
      .of_whole = kQwenVlOfWhole,
      .checked = checked,
      .llama_cpp = "takes 0 for rms_norm_eps",
      .rope = {.theta = 1000000, .sections = {16, 24, 24}},
      .windowed = IsWindowedFromMax,
      .derive = DeriveQwen2Vl,
  };
}

}  // namespace

const Family kQwen2Vl = Qwen2VlFamily(kQwen2VlNames, "qwen2_vl", "drawn");
const Family kQwen25Vl = Qwen2VlFamily(kQwen25VlNames, "qwen2_5_vl", "recorded, drawn");

const Family kQwen3Vl = {
    .names = kQwen3VlNames,
    .model_type = "qwen3_vl",
    .architecture = kQwen3VlArchitecture,
    .hypers = kQwen3VlHypers,
    .fixed = {},
    .keys = kQwen3VlKeys,
    .tensors = kQwen3VlTensors,
    .part = "text_config",
    .of_whole = kQwenVlOfWhole,
    .llama_cpp = "leaves some pairs of the rotation still that turn in the text model",
    .rope = {.theta = 500000, .sections = {24, 20, 20}, .interleaved = true},
    .derive = DeriveQwen3Vl,
};

const Family kQwen3VlMoe = {
    .names = kQwen3VlMoeNames,
    .model_type = "qwen3_vl_moe",
    .architecture = kQwen3VlMoeArchitecture,
    .hypers = kQwen3VlMoeHypers,
    .fixed = kQwen3VlMoeFixed,
    .keys = kQwen3VlMoeKeys,
    .tensors = kQwen3VlMoeTensors,
    .part = "text_config",
    .of_whole = kQwenVlOfWhole,
    .llama_cpp = "leaves some pairs of the rotation still that turn in the text model",
    .rope = {.theta = 500000, .sections = {24, 20, 20}, .interleaved = true},
    .derive = DeriveQwen3VlMoe,
};

}  // namespace smelt
