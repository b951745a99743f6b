// Granite 3 and 4 with experts, with Mamba-2 layers, or with both; Bamba.
// Defaults: transformers
// models/{granitemoe,granitemoeshared,granitemoehybrid,bamba}/configuration_*.py.
#include <algorithm>

#include "lib/base/status.h"
#include "lib/model/families/families.h"

namespace smelt {

const Architecture kGraniteMoeArchitecture = {
    .name = "granitemoe",
    .rope = RopeStyle::kInterleaved,
    .rope_switch = true,
    .residual_scale = true,
    .logit_scale = LogitScale::kDivides,
};
const Architecture kGraniteHybridArchitecture = {
    .name = "granitehybrid",
    .rope = RopeStyle::kInterleaved,
    .rope_switch = true,
    .residual_scale = true,
    .logit_scale = LogitScale::kDivides,
    .recurrence = Recurrence::kMamba2,
    .read_blocks = ReadHybridBlocks,
};

namespace {

constexpr std::string_view kGraniteHybridMoeNames[] = {"GraniteMoeForCausalLM", "GraniteMoeModel"};
constexpr std::string_view kSharedNames[] = {"GraniteMoeSharedForCausalLM",
                                             "GraniteMoeSharedModel"};
constexpr std::string_view kHybridNames[] = {"GraniteMoeHybridForCausalLM",
                                             "GraniteMoeHybridModel"};
constexpr std::string_view kBambaNames[] = {"BambaForCausalLM", "BambaModel"};

constexpr HyperRule SharedFfn(double n) {
  return {Param::kSharedFfn, "shared_intermediate_size", HyperKind::kCount, Default(n), 0};
}
constexpr auto kGraniteHybridMoeHypers = Table<HyperRule>(
    DecoderHypers(
        {.vocab = 32000, .ffn = 11008, .heads = 32, .context = 2048, .eps = RmsEps(1e-6)}),
    Flag(Param::kAttentionBias, "attention_bias", false),
    Factor(Param::kEmbeddingScale, "embedding_multiplier", 1),
    Factor(Param::kResidualScale, "residual_multiplier", 1),
    Factor(Param::kAttentionScale, "attention_multiplier", 1),
    Factor(Param::kLogitScale, "logits_scaling", 1),
    HyperRule{Param::kExperts, "num_local_experts", HyperKind::kCount, Default(8), 0, 1 << 16},
    HyperRule{Param::kExpertsUsed, "num_experts_per_tok", HyperKind::kCount, Default(2), 0,
              1 << 16});
constexpr auto kSharedHypers = Table<HyperRule>(kGraniteHybridMoeHypers, SharedFfn(0));
constexpr auto kHybridHypers =
    Table<HyperRule>(kGraniteHybridMoeHypers, SharedFfn(1024), Mamba2Hypers());
constexpr auto kBambaHypers =
    Table<HyperRule>(DecoderHypers({.vocab = 128000,
                                    .ffn = 14336,
                                    .heads = 32,
                                    .kv_heads = Default(8),
                                    .context = 262144,
                                    .eps = RmsEps(1e-5)}),
                     Flag(Param::kAttentionBias, "attention_bias", false),
                     Flag(Param::kMlpBias, "mlp_bias", false), Mamba2Hypers());

// The convolution's activation, and the gate's.
constexpr FixedRule kGraniteHybridFixed[] = {{"hidden_act", "\"silu\"|\"swish\""},
                                             {"normalization_function", "\"rmsnorm\""}};

constexpr std::array<KeyRule, 5> kGraniteHybridSizes = {{
    {"block_count", ValueType::kU32, Param::kLayers},
    {"context_length", ValueType::kU32, Param::kContext},
    {"embedding_length", ValueType::kU32, Param::kWidth},
    {"feed_forward_length", ValueType::kU32, Param::kFfn},
    {"attention.head_count", ValueType::kU32, Param::kHeads},
}};
constexpr std::array<KeyRule, 7> kScales = {{
    {"vocab_size", ValueType::kU32, Param::kVocab},
    {"rope.dimension_count", ValueType::kU32, Param::kRopeDims},
    {"attention.scale", ValueType::kF32, Param::kAttentionScale},
    {"embedding_scale", ValueType::kF32, Param::kEmbeddingScale},
    {"residual_scale", ValueType::kF32, Param::kResidualScale},
    {"logit_scale", ValueType::kF32, Param::kLogitScale},
    {"expert_shared_feed_forward_length", ValueType::kU32, Param::kSharedFfn},
}};
constexpr KeyRule kRotates{"rope.scaling.finetuned", ValueType::kBool, Param::kRotates};
constexpr auto kGraniteHybridMoeKeys = Table<KeyRule>(
    kGraniteHybridSizes, KeyRule{"attention.head_count_kv", ValueType::kU32, Param::kKvHeads},
    kRopeKeys, kRmsEpsKey, kExpertKeys, HeadSizeKeys(Param::kGivenHeadDim), kFileTypeKey, kScales,
    kRotates);
constexpr auto kHybridKeys = Table<KeyRule>(kGraniteHybridSizes, kKvHeadsKey, kRopeKeys, kRmsEpsKey,
                                            kExpertKeys, HeadSizeKeys(Param::kStatedHeadDim),
                                            kFileTypeKey, kScales, kMamba2Keys, kRotates);

constexpr auto kGraniteHybridAttention = AttentionTensors(
    Param::kAttentionBias, Param::kAttentionBias, TensorOp::kRotaryQ, TensorOp::kRotaryK);

bool HasGraniteHybridExperts(const FamilyContext& context, uint64_t) {
  return context.hyper(Param::kExperts) != 0;
}
bool HasGraniteHybridNoExperts(const FamilyContext& context, uint64_t layer) {
  return !HasGraniteHybridExperts(context, layer);
}
bool HasShared(const FamilyContext& context, uint64_t layer) {
  return HasGraniteHybridExperts(context, layer) && context.hyper(Param::kSharedFfn) != 0;
}
constexpr std::string_view kInput =
    "model.layers.*.block_sparse_moe.input_linear.weight|"
    "model.layers.*.block_sparse_moe.experts.gate_up_proj";
constexpr auto kGraniteHybridExperts =
    Where(HasGraniteHybridExperts,
          std::array<TensorRule, 4>{{
              {"blk.*.ffn_gate_inp.weight",
               "model.layers.*.block_sparse_moe.router.layer.weight|"
               "model.layers.*.block_sparse_moe.router.weight",
               Param::kExperts, Param::kWidth},
              OrMlx({"blk.*.ffn_gate_exps.weight", kInput, Param::kExpertFfn, Param::kWidth,
                     TensorOp::kFusedExpertsFirst},
                    "model.layers.*.block_sparse_moe.switch_mlp.gate_proj.weight",
                    TensorOp::kStackedExperts),
              OrMlx({"blk.*.ffn_up_exps.weight", kInput, Param::kExpertFfn, Param::kWidth,
                     TensorOp::kFusedExpertsSecond},
                    "model.layers.*.block_sparse_moe.switch_mlp.up_proj.weight",
                    TensorOp::kStackedExperts),
              OrMlx({"blk.*.ffn_down_exps.weight",
                     "model.layers.*.block_sparse_moe.output_linear.weight|"
                     "model.layers.*.block_sparse_moe.experts.down_proj",
                     Param::kWidth, Param::kExpertFfn, TensorOp::kStackedExperts},
                    "model.layers.*.block_sparse_moe.switch_mlp.down_proj.weight",
                    TensorOp::kStackedExperts),
          }});
// The MLP that every layer has: beside the experts, or alone.
constexpr std::string_view kMlpInput = "model.layers.*.shared_mlp.input_linear.weight",
                           kMlpOutput = "model.layers.*.shared_mlp.output_linear.weight";
constexpr std::array<TensorRule, 6> kSharedMlp = {{
    If(HasShared, {"blk.*.ffn_gate_shexp.weight", kMlpInput, Param::kSharedFfn, Param::kWidth,
                   TensorOp::kFirstRows}),
    If(HasShared, {"blk.*.ffn_up_shexp.weight", kMlpInput, Param::kSharedFfn, Param::kWidth,
                   TensorOp::kSecondRows}),
    If(HasShared, {"blk.*.ffn_down_shexp.weight", kMlpOutput, Param::kWidth, Param::kSharedFfn}),
    If(HasGraniteHybridNoExperts,
       OrMlx({"blk.*.ffn_gate.weight", kMlpInput, Param::kFfn, Param::kWidth, TensorOp::kFirstRows},
             "model.layers.*.mlp.gate_proj.weight", TensorOp::kCopy)),
    If(HasGraniteHybridNoExperts,
       OrMlx({"blk.*.ffn_up.weight", kMlpInput, Param::kFfn, Param::kWidth, TensorOp::kSecondRows},
             "model.layers.*.mlp.up_proj.weight", TensorOp::kCopy)),
    If(HasGraniteHybridNoExperts,
       OrMlx({"blk.*.ffn_down.weight", kMlpOutput, Param::kWidth, Param::kFfn},
             "model.layers.*.mlp.down_proj.weight", TensorOp::kCopy)),
}};
constexpr auto kGraniteHybridMamba =
    Where(HasNoAttention, Table<TensorRule>(kMamba2Mixer, kMamba2Norm));

constexpr auto kGraniteHybridMoeTensors = Table<TensorRule>(
    kEnds, kAttentionNorm, kGraniteHybridAttention, kFfnNorm, kGraniteHybridExperts, kSharedMlp);
constexpr auto kHybridTensors =
    Table<TensorRule>(kEnds, kAttentionNorm, Where(HasAttention, kGraniteHybridAttention),
                      kGraniteHybridMamba, kFfnNorm, kGraniteHybridExperts, kSharedMlp);
constexpr auto kBambaTensors = Table<TensorRule>(
    TensorRule{"token_embd.weight", "model.embed_tokens.weight", Param::kVocab, Param::kWidth},
    TensorRule{"output_norm.weight", "model.final_layernorm.weight", Param::kWidth},
    If(IsUntied, {"output.weight", "lm_head.weight", Param::kVocab, Param::kWidth}), kAttentionNorm,
    Where(HasAttention, kGraniteHybridAttention), kGraniteHybridMamba,
    TensorRule{"blk.*.ffn_norm.weight", "model.layers.*.pre_ff_layernorm.weight", Param::kWidth},
    std::array<TensorRule, 3>{{
        {"blk.*.ffn_gate.weight", "model.layers.*.feed_forward.gate_proj.weight", Param::kFfn,
         Param::kWidth, TensorOp::kCopy, Param::kMlpBias},
        {"blk.*.ffn_up.weight", "model.layers.*.feed_forward.up_proj.weight", Param::kFfn,
         Param::kWidth, TensorOp::kCopy, Param::kMlpBias},
        {"blk.*.ffn_down.weight", "model.layers.*.feed_forward.down_proj.weight", Param::kWidth,
         Param::kFfn, TensorOp::kCopy, Param::kMlpBias},
    }});

constexpr LayerKind kKinds[] = {
    {"mamba", 0}, {"linear_attention", 0}, {"attention", 1}, {"full_attention", 1}};
constexpr std::string_view kLayerTypes = "layer_types|layers_block_type";

/// Of a config.json with Mamba layers: the class's default, where no list says otherwise.
bool HasMamba(const Config& config) {
  const JsonValue* types = config.Find(kLayerTypes);
  const JsonValue::Array* list = types == nullptr ? nullptr : types->as_array();
  return list == nullptr || std::ranges::any_of(*list, [](const JsonValue& type) {
           return type.is_string() && type.as_string()->find("attention") != 0 &&
                  *type.as_string() != "full_attention";
         });
}
bool HasExpertsGiven(const Config& config) {
  const JsonValue* count = config.Find("num_local_experts");
  return count == nullptr || count->as_double() != 0;
}
bool IsAttentionWithExperts(const Config& config) {
  return !HasMamba(config) && HasExpertsGiven(config);
}
bool IsAttentionOnly(const Config& config) { return !HasMamba(config) && !HasExpertsGiven(config); }

absl::Status CheckExperts(FamilyContext& context) {
  Hyper& h = context.hyper;
  h.Set(Param::kExpertFfn, h.real(Param::kFfn));
  if (h(Param::kExperts) != 0 && h(Param::kExpertsUsed) == 0)
    return context.config.Bad("num_experts_per_tok", "is 0, but there are experts");
  if (h(Param::kExperts) != 0) return NoteAttentionBias(context);
  // The width of the one MLP there is.
  h.Set(Param::kFfn, h.real(Param::kSharedFfn));
  for (Param param : {Param::kExperts, Param::kExpertsUsed, Param::kSharedFfn}) h.Remove(param);
  if (h(Param::kFfn) == 0)
    return context.config.Bad("shared_intermediate_size", "is 0, and there are no experts");
  return NoteAttentionBias(context);
}

absl::Status DeriveGraniteHybridMoe(FamilyContext& context) {
  context.hyper.Set(Param::kRotates, 1);
  return CheckExperts(context);
}

absl::Status ReadPositions(FamilyContext& context) {
  SMELT_ASSIGN_OR_RETURN(const auto given, context.config.Text("position_embedding_type"));
  const std::string type = given.value_or("nope");
  if (type != "rope" && type != "nope") {
    return context.config.Bad("position_embedding_type",
                              Cat("is ", Escape(type, 40), ", expected rope or nope"));
  }
  const bool rotates = type == "rope";
  context.hyper.Set(Param::kRotates, rotates ? 1 : 0);
  if (!rotates) context.hyper.Set(Param::kContext, 1 << 20);  // there is no limit
  return absl::OkStatus();
}

absl::Status ReadGraniteHybridMixers(FamilyContext& context, const std::vector<int>& kinds) {
  Hyper& h = context.hyper;
  const int32_t kv_heads = static_cast<int32_t>(h(Param::kKvHeads));
  for (uint64_t i = 0; i < h(Param::kLayers); ++i)
    context.kv_heads.push_back(i < kinds.size() && kinds[i] == 1 ? kv_heads : 0);
  // Which llama.cpp reads of this architecture.
  if (h.Has(Param::kGivenHeadDim)) h.Set(Param::kStatedHeadDim, h.real(Param::kGivenHeadDim));
  SMELT_RETURN_IF_ERROR(ReadMambaHeadSize(context));
  SMELT_RETURN_IF_ERROR(DeriveMamba2(context, h(Param::kExpand) * h(Param::kWidth), "mamba_n_heads",
                                     "mamba_d_head", "mamba_n_groups"));
  if (h.flag(Param::kBias)) context.differences.push_back("cannot load biases of the projections");
  return ReadTimeStepLimit(context);
}

absl::Status DeriveAttentionOnly(FamilyContext& context) {
  SMELT_RETURN_IF_ERROR(ReadLayerKinds(context, kLayerTypes, kKinds).status());
  SMELT_RETURN_IF_ERROR(ReadPositions(context));
  return CheckExperts(context);
}

absl::Status DeriveHybrid(FamilyContext& context) {
  SMELT_RETURN_IF_ERROR(ReadPositions(context));
  SMELT_ASSIGN_OR_RETURN(const std::vector<int> kinds,
                         ReadLayerKinds(context, kLayerTypes, kKinds));
  SMELT_RETURN_IF_ERROR(ReadGraniteHybridMixers(context, kinds));
  return CheckExperts(context);
}

absl::Status DeriveBamba(FamilyContext& context) {
  Hyper& h = context.hyper;
  h.Set(Param::kRotates, 1);
  SMELT_ASSIGN_OR_RETURN(const auto rotary, context.config.Count("attn_rotary_emb"));
  if (rotary && *rotary != h(Param::kRopeDims)) {
    return context.config.Bad("attn_rotary_emb",
                              Cat("is ", *rotary, ", but the class rotates half of a head, ",
                                  h(Param::kRopeDims), " dimensions"));
  }
  SMELT_ASSIGN_OR_RETURN(const std::vector<double> listed,
                         context.config.Reals("attn_layer_indices"));
  std::vector<int> kinds(std::min<uint64_t>(h(Param::kLayers), 1 << 16), 0);
  for (double layer : listed) {
    if (layer >= 0 && layer < static_cast<double>(kinds.size()))
      kinds[static_cast<size_t>(layer)] = 1;
  }
  SMELT_RETURN_IF_ERROR(ReadGraniteHybridMixers(context, kinds));
  return NoteAttentionBias(context);
}

}  // namespace

const Family kGraniteMoe = {
    .names = kGraniteHybridMoeNames,
    .model_type = "granitemoe",
    .architecture = kGraniteMoeArchitecture,
    .hypers = kGraniteHybridMoeHypers,
    .fixed = kGraniteHybridFixed,
    .keys = kGraniteHybridMoeKeys,
    .tensors = kGraniteHybridMoeTensors,
    .derive = DeriveGraniteHybridMoe,
};

const Family kGraniteMoeShared = {
    .names = kSharedNames,
    .model_type = "granitemoeshared",
    .architecture = kGraniteMoeArchitecture,
    .hypers = kSharedHypers,
    .fixed = kGraniteHybridFixed,
    .keys = kGraniteHybridMoeKeys,
    .tensors = kGraniteHybridMoeTensors,
    .checked = "drawn",
    .derive = DeriveGraniteHybridMoe,
};

const Family kGraniteMoeHybrid = {
    .names = kHybridNames,
    .model_type = "granitemoehybrid",
    .architecture = kGraniteHybridArchitecture,
    .meant = HasMamba,
    .hypers = kHybridHypers,
    .fixed = kGraniteHybridFixed,
    .keys = kHybridKeys,
    .tensors = kHybridTensors,
    .activation_key = "",
    .layer_types = LayerTypes::kMixers,
    .derive = DeriveHybrid,
};

// All layers with attention: without experts the file is of the plain architecture.
const Family kGraniteHybridMoe = {
    .names = kHybridNames,
    .model_type = "granitemoehybrid",
    .architecture = kGraniteMoeArchitecture,
    .meant = IsAttentionWithExperts,
    .hypers = kHybridHypers,
    .fixed = kGraniteHybridFixed,
    .keys = kGraniteHybridMoeKeys,
    .tensors = kGraniteHybridMoeTensors,
    .activation_key = "",
    .layer_types = LayerTypes::kMixers,
    .derive = DeriveAttentionOnly,
};
const Family kGraniteHybridDense = {
    .names = kHybridNames,
    .model_type = "granitemoehybrid",
    .architecture = kGraniteArchitecture,
    .meant = IsAttentionOnly,
    .hypers = kHybridHypers,
    .fixed = kGraniteHybridFixed,
    .keys = kGraniteHybridMoeKeys,
    .tensors = kGraniteHybridMoeTensors,
    .activation_key = "",
    .layer_types = LayerTypes::kMixers,
    .derive = DeriveAttentionOnly,
};

const Family kBamba = {
    .names = kBambaNames,
    .model_type = "bamba",
    .architecture = kGraniteHybridArchitecture,
    .hypers = kBambaHypers,
    .fixed = kGraniteHybridFixed,
    .keys = kHybridKeys,
    .tensors = kBambaTensors,
    .rope = {.partial = 0.5},
    .partial_rotary = true,
    .activation_key = "",
    .layer_types = LayerTypes::kMixers,
    .derive = DeriveBamba,
};

}  // namespace smelt
