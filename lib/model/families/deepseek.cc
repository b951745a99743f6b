// DeepSeek V2 and V3 (R1, Kimi K2), GLM-4.7 Flash and Mistral Small 4: multi-head latent attention
// with experts. Defaults: transformers
// models/{deepseek_v2,deepseek_v3,glm4_moe_lite,mistral4}/configuration_*.py.
#include <algorithm>

#include "lib/base/own_keys.h"
#include "lib/base/status.h"
#include "lib/model/families/families.h"

namespace smelt {

const Architecture kDeepseek2Architecture = {
    .name = "deepseek2",
    .rope = RopeStyle::kInterleaved,
    .yarn_log_unit = 0.1,
    .yarn_scales_scores = true,
    .temperature = true,
    .latent_attention = true,
    .expert_sum_epsilon = 1e-20,
    .normalize_experts = false,
};
const Architecture kMistral4Architecture = {
    .name = "mistral4",
    .rope = RopeStyle::kInterleaved,
    .yarn_log_unit = 0.1,
    .yarn_scales_scores = true,
    .temperature = true,
    .latent_attention = true,
    .expert_sum_epsilon = 1e-20,
    .normalize_experts = false,
};

namespace {

constexpr std::string_view kV2Names[] = {"DeepseekV2ForCausalLM", "DeepseekV2Model"};
constexpr std::string_view kV3Names[] = {"DeepseekV3ForCausalLM", "DeepseekV3Model"};
constexpr std::string_view kLiteNames[] = {"Glm4MoeLiteForCausalLM", "Glm4MoeLiteModel"};
constexpr std::string_view kMistral4Names[] = {"Mistral4ForCausalLM", "Mistral4Model"};
constexpr std::string_view kMistral4WholeNames[] = {"Mistral3ForConditionalGeneration",
                                                    "Mistral3Model"};
constexpr std::string_view kDeepseekOfWhole[] = {"tie_word_embeddings"};

/// What a class has where config.json does not say.
struct LatentDefaults {
  double vocab = 0, ffn = 0, heads = 0, context = 0, eps = 1e-6;
  double q_rank = 1536, kv_rank = 512, plain = 128, rotated = 64, value = 128;
  double experts = 0, shared = 1, expert_ffn = 0, scale = 1;
  Fallback used = kRequired, groups = kAbsent;
  bool tied = false;
};
constexpr std::array<HyperRule, 21> LatentHypers(const LatentDefaults& d) {
  return {{
      kLayers,
      kWidth,
      Vocab(d.vocab),
      Ffn(d.ffn),
      Heads(d.heads),
      KvHeads(SameAs(Param::kHeads)),
      {Param::kHeadDim, "qk_rope_head_dim", HyperKind::kCount, Default(d.rotated), 2, 1 << 16},
      Context(d.context),
      RmsEps(d.eps),
      Tied(d.tied),
      Flag(Param::kAttentionBias, "attention_bias", false),
      {Param::kQRank, "q_lora_rank", HyperKind::kCount, Default(d.q_rank), 1, 1 << 16, kAbsent},
      {Param::kKvRank, "kv_lora_rank", HyperKind::kCount, Default(d.kv_rank), 1, 1 << 16},
      {Param::kPlainSize, "qk_nope_head_dim", HyperKind::kCount, Default(d.plain), 1, 1 << 16},
      {Param::kValueSize, "v_head_dim", HyperKind::kCount, Default(d.value), 1, 1 << 16},
      {Param::kExperts, "n_routed_experts|num_local_experts|num_experts", HyperKind::kCount,
       Default(d.experts), 1, 1 << 16},
      {Param::kExpertsUsed, "num_experts_per_tok", HyperKind::kCount, d.used, 1, 1 << 16},
      {Param::kSharedCount, "n_shared_experts", HyperKind::kCount, Default(d.shared), 1, 1 << 16},
      {Param::kExpertFfn, "moe_intermediate_size", HyperKind::kCount, Default(d.expert_ffn)},
      {Param::kExpertGroups, "n_group", HyperKind::kCount, d.groups, 1, 1 << 16},
      Factor(Param::kExpertScale, "routed_scaling_factor", d.scale),
  }};
}
constexpr HyperRule GroupsUsed(Fallback fallback) {
  return {Param::kExpertGroupsUsed, "topk_group", HyperKind::kCount, fallback, 1, 1 << 16};
}
constexpr HyperRule DenseLayers(double n) {
  return {Param::kDenseLayers, "first_k_dense_replace", HyperKind::kCount, Default(n), 0, 1 << 16};
}
constexpr HyperRule kNormalize = Flag(Param::kNormTopkProb, "norm_topk_prob", true);

constexpr auto kV2Hypers = Table<HyperRule>(LatentHypers({.vocab = 102400,
                                                          .ffn = 11008,
                                                          .heads = 32,
                                                          .context = 2048,
                                                          .experts = 64,
                                                          .shared = 2,
                                                          .expert_ffn = 1407}),
                                            GroupsUsed(kAbsent), DenseLayers(0));
constexpr auto kV3Hypers = Table<HyperRule>(LatentHypers({.vocab = 129280,
                                                          .ffn = 18432,
                                                          .heads = 128,
                                                          .context = 4096,
                                                          .experts = 256,
                                                          .expert_ffn = 2048,
                                                          .scale = 2.5,
                                                          .used = Default(8),
                                                          .groups = Default(8)}),
                                            GroupsUsed(Default(4)), DenseLayers(3), kNormalize);
constexpr auto kLiteHypers = Table<HyperRule>(LatentHypers({.vocab = 154880,
                                                            .ffn = 10240,
                                                            .heads = 20,
                                                            .context = 202752,
                                                            .eps = 1e-5,
                                                            .q_rank = 768,
                                                            .plain = 192,
                                                            .value = 256,
                                                            .experts = 64,
                                                            .expert_ffn = 1536,
                                                            .scale = 1.8,
                                                            .used = Default(4),
                                                            .groups = Default(1)}),
                                              GroupsUsed(Default(1)), kNormalize);
/// The tie of the whole is another default than that of the text part alone.
constexpr auto Mistral4Hypers(bool tied) {
  return Table<HyperRule>(LatentHypers({.vocab = 131072,
                                        .ffn = 12288,
                                        .heads = 32,
                                        .context = 1048576,
                                        .q_rank = 1024,
                                        .kv_rank = 256,
                                        .plain = 64,
                                        .experts = 128,
                                        .expert_ffn = 2048,
                                        .used = Default(4),
                                        .groups = Default(1),
                                        .tied = tied}),
                          GroupsUsed(Default(1)), DenseLayers(0), kNormalize);
}
constexpr auto kMistral4Hypers = Mistral4Hypers(false);
constexpr auto kMistral4WholeHypers = Mistral4Hypers(true);

// What a class does without a switch, or with one of which other values are another model.
constexpr FixedRule kV2Fixed[] = {
    {"scoring_func", "\"softmax\""},
    {"moe_layer_freq", "1"},
    {"mlp_bias", "false"},
};
constexpr FixedRule kV3Fixed[] = {
    {"scoring_func", "\"sigmoid\""}, {"topk_method", "\"noaux_tc\""}, {"moe_layer_freq", "1"},
    {"rope_interleave", "true"},     {"mlp_bias", "false"},
};
constexpr FixedRule kMistral4Fixed[] = {
    {"scoring_func", "\"softmax\""}, {"moe_layer_freq", "1"}, {"rope_interleave", "true"},
    {"mlp_bias", "false"},           {"n_group", "1"},
};

/// `gating`: expert_gating_func.
constexpr auto LatentKeys(double gating) {
  return Table<KeyRule>(
      KeyRule{"block_count", ValueType::kU32, Param::kLayers},
      KeyRule{"context_length", ValueType::kU32, Param::kContext},
      KeyRule{"embedding_length", ValueType::kU32, Param::kWidth},
      KeyRule{"feed_forward_length", ValueType::kU32, Param::kFfn},
      KeyRule{"attention.head_count", ValueType::kU32, Param::kHeads},
      KeyRule{"attention.head_count_kv", ValueType::kU32, Param::kNone, 1}, kRopeKeys, kRmsEpsKey,
      kExpertKeys, KeyRule{"expert_group_count", ValueType::kU32, Param::kExpertGroups},
      KeyRule{"expert_group_used_count", ValueType::kU32, Param::kExpertGroupsUsed},
      KeyRule{"expert_gating_func", ValueType::kU32, Param::kNone, gating},
      KeyRule{"attention.key_length", ValueType::kU32, Param::kLatentKv},
      KeyRule{"attention.value_length", ValueType::kU32, Param::kKvRank}, kFileTypeKey,
      KeyRule{"leading_dense_block_count", ValueType::kU32, Param::kDenseLayers},
      KeyRule{"vocab_size", ValueType::kU32, Param::kVocab},
      KeyRule{"attention.q_lora_rank", ValueType::kU32, Param::kQRank},
      KeyRule{"attention.kv_lora_rank", ValueType::kU32, Param::kKvRank},
      KeyRule{"attention.key_length_mla", ValueType::kU32, Param::kLatentHead},
      KeyRule{"attention.value_length_mla", ValueType::kU32, Param::kValueSize},
      KeyRule{"expert_feed_forward_length", ValueType::kU32, Param::kExpertFfn},
      KeyRule{"expert_shared_count", ValueType::kU32, Param::kSharedCount},
      KeyRule{"expert_weights_scale", ValueType::kF32, Param::kExpertScale},
      KeyRule{"expert_weights_norm", ValueType::kBool, Param::kNormTopkProb},
      KeyRule{"rope.dimension_count", ValueType::kU32, Param::kRopeDims},
      KeyRule{"rope.scaling.yarn_log_multiplier", ValueType::kF32, Param::kYarnLog},
      KeyRule{"attention.temperature_scale", ValueType::kF32, Param::kTemperature},
      KeyRule{"attention.temperature_length", ValueType::kU32, Param::kTemperatureLength});
}
constexpr auto kSoftmaxKeys = LatentKeys(1);
constexpr auto kSigmoidKeys = LatentKeys(2);

bool HasQRank(const FamilyContext& context, uint64_t) { return context.hyper.Has(Param::kQRank); }
bool HasNoQRank(const FamilyContext& context, uint64_t layer) { return !HasQRank(context, layer); }

constexpr std::array<TensorRule, 9> kDeepseekAttention = {{
    If(HasQRank, {"blk.*.attn_q_a.weight", "model.layers.*.self_attn.q_a_proj.weight",
                  Param::kQRank, Param::kWidth, TensorOp::kCopy, Param::kAttentionBias}),
    If(HasQRank, {"blk.*.attn_q_a_norm.weight", "model.layers.*.self_attn.q_a_layernorm.weight",
                  Param::kQRank}),
    If(HasQRank, {"blk.*.attn_q_b.weight", "model.layers.*.self_attn.q_b_proj.weight",
                  Param::kLatentQ, Param::kQRank}),
    If(HasNoQRank, {"blk.*.attn_q.weight", "model.layers.*.self_attn.q_proj.weight",
                    Param::kLatentQ, Param::kWidth}),
    {"blk.*.attn_kv_a_mqa.weight", "model.layers.*.self_attn.kv_a_proj_with_mqa.weight",
     Param::kLatentKv, Param::kWidth, TensorOp::kCopy, Param::kAttentionBias},
    {"blk.*.attn_kv_a_norm.weight", "model.layers.*.self_attn.kv_a_layernorm.weight",
     Param::kKvRank},
    OrMlx({"blk.*.attn_k_b.weight", "model.layers.*.self_attn.kv_b_proj.weight", Param::kLatentKvB,
           Param::kKvRank, TensorOp::kLatentKeys},
          "model.layers.*.self_attn.embed_q.weight", TensorOp::kLatentKeysOfHeads),
    OrMlx({"blk.*.attn_v_b.weight", "model.layers.*.self_attn.kv_b_proj.weight", Param::kLatentKvB,
           Param::kKvRank, TensorOp::kLatentValues},
          "model.layers.*.self_attn.unembed_out.weight", TensorOp::kLatentValuesOfHeads),
    {"blk.*.attn_output.weight", "model.layers.*.self_attn.o_proj.weight", Param::kWidth,
     Param::kLatentOut, TensorOp::kCopy, Param::kAttentionBias},
}};
constexpr auto kDeepseekTensors = Table<TensorRule>(
    kEnds, kAttentionNorm, kDeepseekAttention, kFfnNorm, GatedMlp(Param::kNone, IsDense),
    ExpertTensors(Param::kExpertFfn), kSharedExpertTensors);
constexpr auto kBiasedTensors = Table<TensorRule>(kDeepseekTensors, kSelectionBias);

absl::Status DeriveSizes(FamilyContext& context) {
  Hyper& h = context.hyper;
  const Config& config = context.config;
  const uint64_t heads = h(Param::kHeads), rotated = h(Param::kHeadDim),
                 head = h(Param::kPlainSize) + rotated;
  if (h(Param::kKvHeads) != heads) {
    return config.Bad("num_key_value_heads",
                      Cat("is ", h(Param::kKvHeads), ", expected num_attention_heads ", heads,
                          ": all heads have keys of their own"));
  }
  if (rotated % 2 != 0)
    return config.Bad("qk_rope_head_dim", Cat("is ", rotated, ", which is odd"));
  // The class's rotary dimensions, whatever share of which head size the configuration states.
  h.Set(Param::kRopeDims, static_cast<double>(rotated));
  h.Set(Param::kLatentHead, static_cast<double>(head));
  h.Set(Param::kLatentQ, static_cast<double>(heads * head));
  h.Set(Param::kLatentOut, static_cast<double>(heads * h(Param::kValueSize)));
  h.Set(Param::kLatentKv, static_cast<double>(h(Param::kKvRank) + rotated));
  h.Set(Param::kLatentKvB,
        static_cast<double>(heads * (h(Param::kPlainSize) + h(Param::kValueSize))));
  h.Set(Param::kSharedFfn, h.real(Param::kSharedCount) * h.real(Param::kExpertFfn));
  return absl::OkStatus();
}

absl::Status DeriveScores(FamilyContext& context) {
  Hyper& h = context.hyper;
  const RopeConfig& rope = context.rope.full;
  if (rope.mscale_all_dim && rope.type != RopeType::kYarn) {
    return context.config.Bad("rope_scaling",
                              "has mscale_all_dim without yarn, which is not "
                              "supported");
  }
  if (rope.mscale_all_dim) h.Set(Param::kYarnLog, 0.1 * *rope.mscale_all_dim);
  if (rope.temperature_scale) {
    h.Set(Param::kTemperature, *rope.temperature_scale);
    h.Set(Param::kTemperatureLength, rope.original_context);
  }
  const bool keeps_length = rope.mscale_all_dim && rope.attention_factor == 1.0;
  if (rope.type == RopeType::kYarn && !keeps_length)
    context.differences.push_back("scales queries and keys of YaRN in another way");
  // The classes' norms inside attention have the default of theirs.
  constexpr double kInner = 1e-6;
  if (h.real(Param::kEps) != kInner) {
    WriteOwn<float>(context.extra, "smelt.attention.latent_norm_epsilon",
                    static_cast<float>(kInner));
    context.differences.push_back(Cat("takes rms_norm_eps ", h.real(Param::kEps),
                                      " for the norms inside attention too, which have ", kInner));
  }
  return NoteAttentionBias(context);
}

/// `dense`: layers in front without experts.
absl::Status DeriveDeepseekExperts(FamilyContext& context, uint64_t dense) {
  Hyper& h = context.hyper;
  const uint64_t groups = h.Has(Param::kExpertGroups) ? h(Param::kExpertGroups) : 1,
                 used = h.Has(Param::kExpertGroupsUsed) ? h(Param::kExpertGroupsUsed) : groups;
  if (h(Param::kExperts) % groups != 0 || used > groups ||
      h(Param::kExpertsUsed) > h(Param::kExperts) / groups * used) {
    return context.config.Bad("n_group",
                              Cat("is ", groups, ", of which topk_group ", used,
                                  " are used: that does not go "
                                  "with num_experts_per_tok ",
                                  h(Param::kExpertsUsed), " of ", h(Param::kExperts), " experts"));
  }
  context.sparse.clear();
  for (uint64_t i = 0; i < std::min<uint64_t>(h(Param::kLayers), 1 << 16); ++i)
    context.sparse.push_back(i >= dense);
  // false is what readers of the architecture assume.
  if (!h.flag(Param::kNormTopkProb)) h.Remove(Param::kNormTopkProb);
  return absl::OkStatus();
}

absl::Status DeriveDeepseek(FamilyContext& context) {
  SMELT_RETURN_IF_ERROR(DeriveSizes(context));
  SMELT_RETURN_IF_ERROR(DeriveScores(context));
  return DeriveDeepseekExperts(context, context.hyper(Param::kDenseLayers));
}

absl::Status DeriveV2(FamilyContext& context) {
  Hyper& h = context.hyper;
  SMELT_ASSIGN_OR_RETURN(const auto method, context.config.Text("topk_method"));
  context.config.Find("norm_topk_prob");  // weights are never normalised, whatever it says
  const std::string name = method.value_or("greedy");
  if (name != "greedy" && name != "group_limited_greedy") {
    return context.config.Bad(
        "topk_method", Cat("is ", Escape(name, 40), ", expected greedy or group_limited_greedy"));
  }
  if (name == "greedy" && h.Has(Param::kExpertGroups)) {  // groups have no influence
    h.Set(Param::kExpertGroups, 1);
    h.Set(Param::kExpertGroupsUsed, 1);
  } else if (h(Param::kExpertGroups) > 1) {
    context.differences.push_back(
        "chooses groups of experts by their two best scores, not by the best");
  }
  if (!h.Has(Param::kQRank) && h(Param::kLayers) != 26 && h(Param::kLayers) != 27) {
    context.differences.push_back(
        "cannot load models without q_lora_rank that have neither 26 nor 27 layers");
  }
  return DeriveDeepseek(context);
}

/// Layers by a list; the first is dense where there is none.
absl::Status DeriveLite(FamilyContext& context) {
  Hyper& h = context.hyper;
  constexpr LayerKind kKinds[] = {{"dense", 0}, {"sparse", 1}};
  SMELT_ASSIGN_OR_RETURN(const std::vector<int> kinds,
                         ReadLayerKinds(context, "mlp_layer_types", kKinds));
  uint64_t dense = 1;
  if (!kinds.empty()) {
    dense = static_cast<uint64_t>(std::ranges::find(kinds, 1) - kinds.begin());
    if (std::find(kinds.begin() + static_cast<std::ptrdiff_t>(dense), kinds.end(), 0) !=
        kinds.end()) {
      return context.config.Bad(
          "mlp_layer_types", "has a dense layer behind one with experts, which is not supported");
    }
  }
  SMELT_ASSIGN_OR_RETURN(const auto stated, context.config.Count("first_k_dense_replace"));
  if (stated && *stated != dense) {
    return context.config.Bad(
        "first_k_dense_replace",
        Cat("is ", *stated, ", but the class makes ", dense,
            " dense layers (mlp_layer_types, or one where there is no such list)"));
  }
  h.Set(Param::kDenseLayers, static_cast<double>(dense));
  SMELT_RETURN_IF_ERROR(DeriveSizes(context));
  SMELT_RETURN_IF_ERROR(DeriveScores(context));
  return DeriveDeepseekExperts(context, dense);
}

/// A layer behind the last one.
constexpr DraftHead kDeepseekDraft = {.mark = "model.layers.*.eh_proj.weight", .kept = false};

}  // namespace

const Family kDeepseekV2 = {
    .names = kV2Names,
    .model_type = "deepseek_v2",
    .architecture = kDeepseek2Architecture,
    .hypers = kV2Hypers,
    .fixed = kV2Fixed,
    .keys = kSoftmaxKeys,
    .tensors = kDeepseekTensors,
    .partial_rotary = true,
    .derive = DeriveV2,
};

// Moonshot's Kimi K2 is of this class, under a model_type of its own.
const Family kDeepseekV3 = {
    .names = kV3Names,
    .model_type = "deepseek_v3|kimi_k2",
    .architecture = kDeepseek2Architecture,
    .hypers = kV3Hypers,
    .fixed = kV3Fixed,
    .keys = kSigmoidKeys,
    .tensors = kBiasedTensors,
    .partial_rotary = true,
    .draft = kDeepseekDraft,
    .derive = DeriveDeepseek,
};

const Family kGlm4MoeLite = {
    .names = kLiteNames,
    .model_type = "glm4_moe_lite",
    .architecture = kDeepseek2Architecture,
    .hypers = kLiteHypers,
    .fixed = kV3Fixed,
    .keys = kSigmoidKeys,
    .tensors = kBiasedTensors,
    .partial_rotary = true,
    .draft = kDeepseekDraft,
    .derive = DeriveLite,
};

const std::span<const KeyRule> kMistral4KeyRules = kSoftmaxKeys;

absl::Status DeriveLatentModel(FamilyContext& context) { return DeriveDeepseek(context); }

constexpr RopeDefaults kMistral4Rope = {
    .plain_counts = true,
    .temperature = true,
    .parameters = R"({"rope_type": "yarn", "rope_theta": 10000.0, "factor": 128.0,
                      "original_max_position_embeddings": 8192, "beta_fast": 32.0, "beta_slow": 1.0,
                      "mscale_all_dim": 1.0, "mscale": 1.0, "llama_4_scaling_beta": 0.1})"};

const Family kMistral4 = {
    .names = kMistral4Names,
    .model_type = "mistral4",
    .architecture = kMistral4Architecture,
    .hypers = kMistral4Hypers,
    .fixed = kMistral4Fixed,
    .keys = kSoftmaxKeys,
    .tensors = kDeepseekTensors,
    .rope = kMistral4Rope,
    .partial_rotary = true,
    .derive = DeriveDeepseek,
};

const Family kMistral4Conditional = {
    .names = kMistral4WholeNames,
    .model_type = "mistral3",
    .architecture = kMistral4Architecture,
    .hypers = kMistral4WholeHypers,
    .fixed = kMistral4Fixed,
    .keys = kSoftmaxKeys,
    .tensors = kDeepseekTensors,
    .part = "text_config",
    .part_type = "mistral4",
    .of_whole = kDeepseekOfWhole,
    .rope = kMistral4Rope,
    .partial_rotary = true,
    .derive = DeriveDeepseek,
};

}  // namespace smelt
