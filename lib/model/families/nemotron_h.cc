// Nemotron-H (Nano v2, 3 Nano, 3 Super): each layer is Mamba-2, attention without rotation, an MLP
// or experts. Defaults: transformers models/nemotron_h/configuration_nemotron_h.py.
#include <algorithm>

#include "lib/base/own_keys.h"
#include "lib/base/status.h"
#include "lib/model/families/families.h"

namespace smelt {

const Architecture kNemotronHArchitecture = {
    .name = "nemotron_h",
    .ffn_norm = "",
    .rope = RopeStyle::kNone,
    .gated = false,
    .activation = Activation::kRelu2,
    .recurrence = Recurrence::kMamba2,
    .parts = BlockParts::kOne,
    .read_blocks = ReadHybridBlocks,
};
const Architecture kNemotronHMoeArchitecture = {
    .name = "nemotron_h_moe",
    .ffn_norm = "",
    .rope = RopeStyle::kNone,
    .gated = false,
    .activation = Activation::kRelu2,
    .gating = Experts::Gating::kSigmoid,
    .expert_sum_epsilon = 1e-20,
    .recurrence = Recurrence::kMamba2,
    .parts = BlockParts::kOne,
    .read_blocks = ReadHybridBlocks,
};

namespace {

constexpr std::string_view kNemotronHNames[] = {"NemotronHForCausalLM", "NemotronHModel"};

constexpr auto kNemotronHHypers = Table<HyperRule>(
    HyperRule{Param::kLayers, "num_hidden_layers", HyperKind::kCount, kAbsent, 1, 1 << 16}, kWidth,
    Vocab(131072), Ffn(21504), Heads(32), KvHeads(Default(8)), HeadDim(Default(128)), Context(4096),
    Eps("layer_norm_epsilon", 1e-5), Tied(false),
    HyperRule{Param::kTheta, "rope_theta", HyperKind::kReal, kAbsent, 1e-6, 1e30},
    HyperRule{Param::kConv, "mamba_d_conv|conv_kernel", HyperKind::kCount, Default(4), 1, 1 << 10},
    HyperRule{Param::kState, "ssm_state_size", HyperKind::kCount, Default(128), 1, 1 << 16},
    HyperRule{Param::kSsmHeads, "mamba_num_heads", HyperKind::kCount, Default(128), 1, 1 << 20},
    HyperRule{Param::kSsmHeadSize, "mamba_head_dim", HyperKind::kCount, Default(64), 1, 1 << 16},
    HyperRule{Param::kGroups, "mamba_n_groups|n_groups", HyperKind::kCount, Default(8), 1, 1 << 16},
    Flag(Param::kConvBias, "mamba_conv_bias|use_conv_bias", true),
    Flag(Param::kBias, "use_bias", false), Flag(Param::kMlpBias, "mlp_bias", false),
    HyperRule{Param::kTimeStepMin, "mamba_dt_min|time_step_min", HyperKind::kReal, Default(1e-3), 0,
              1e9});
constexpr auto kNemotronHMoeHypers = Table<HyperRule>(
    kNemotronHHypers,
    HyperRule{Param::kExperts, "n_routed_experts|num_local_experts", HyperKind::kCount, Default(8),
              1, 1 << 16},
    ExpertsUsed(2),
    HyperRule{Param::kExpertFfn, "moe_intermediate_size", HyperKind::kCount, Default(7688)},
    HyperRule{Param::kSharedFfn, "moe_shared_expert_intermediate_size", HyperKind::kCount,
              Default(7688)},
    HyperRule{Param::kSharedCount, "n_shared_experts", HyperKind::kCount, Default(1), 0},
    HyperRule{Param::kLatent, "moe_latent_size", HyperKind::kCount, kAbsent, 1, 1 << 24},
    HyperRule{Param::kExpertGroups, "n_group", HyperKind::kCount, Default(1), 1, 1 << 16},
    HyperRule{Param::kExpertGroupsUsed, "topk_group", HyperKind::kCount, Default(1), 1, 1 << 16},
    Flag(Param::kNormTopkProb, "norm_topk_prob", true),
    Factor(Param::kExpertScale, "routed_scaling_factor", 1));

constexpr FixedRule kNemotronHFixed[] = {{"mamba_hidden_act", "\"silu\"|\"swish\""},
                                         {"sliding_window", "null"},
                                         {"attention_bias", "false"}};

constexpr std::array<KeyRule, 8> kNemotronHSizes = {{
    {"block_count", ValueType::kU32, Param::kLayers},
    {"context_length", ValueType::kU32, Param::kContext},
    {"embedding_length", ValueType::kU32, Param::kWidth},
    kFfnLengthsKey,
    {"attention.head_count", ValueType::kU32, Param::kHeads},
    kKvHeadsKey,
    {"rope.freq_base", ValueType::kF32, Param::kTheta},
    kRmsEpsKey,
}};
constexpr KeyRule kOtherEps{"attention.layer_norm_epsilon", ValueType::kF32, Param::kEps};
constexpr auto kNemotronHTail = Table<KeyRule>(
    kFileTypeKey, KeyRule{"vocab_size", ValueType::kU32, Param::kVocab},
    KeyRule{"rope.dimension_count", ValueType::kU32, Param::kStatedRopeDims}, kMamba2Keys,
    KeyRule{"rope.scaling.finetuned", ValueType::kBool, Param::kNone, 0},
    HeadSizeKeys(Param::kHeadDim));
constexpr auto kNemotronHKeys = Table<KeyRule>(kNemotronHSizes, kOtherEps, kNemotronHTail);
constexpr auto kNemotronHMoeKeys = Table<KeyRule>(
    kNemotronHSizes, kOtherEps, kExpertKeys,
    KeyRule{"expert_group_count", ValueType::kU32, Param::kExpertGroups},
    KeyRule{"expert_group_used_count", ValueType::kU32, Param::kExpertGroupsUsed}, kNemotronHTail,
    KeyRule{"expert_feed_forward_length", ValueType::kU32, Param::kExpertFfn},
    KeyRule{"expert_shared_feed_forward_length", ValueType::kU32, Param::kSharedFfn},
    KeyRule{"expert_shared_count", ValueType::kU32, Param::kSharedCount},
    KeyRule{"expert_weights_norm", ValueType::kBool, Param::kNormTopkProb},
    KeyRule{"expert_weights_scale", ValueType::kF32, Param::kExpertScale},
    KeyRule{"moe_latent_size", ValueType::kU32, Param::kLatent});

bool IsNemotronHMamba(const FamilyContext& context, uint64_t layer) {
  return context.kv_heads[layer] == 0 && context.ffn[layer] == 0;
}
bool IsMlp(const FamilyContext& context, uint64_t layer) {
  return context.ffn[layer] != 0 && !context.sparse[layer];
}
bool HasLatent(const FamilyContext& context, uint64_t layer) {
  return context.sparse[layer] && context.hyper.Has(Param::kLatent);
}

// Nothing rotates, but llama.cpp's converter puts rows of q and k in rotary order all the same.
constexpr std::array<TensorRule, 10> kCommon = {{
    {"token_embd.weight", "backbone.embeddings.weight|model.embed_tokens.weight", Param::kVocab,
     Param::kWidth},
    {"output_norm.weight", "backbone.norm_f.weight", Param::kWidth},
    If(IsUntied, {"output.weight", "lm_head.weight", Param::kVocab, Param::kWidth}),
    {"blk.*.attn_norm.weight", "backbone.layers.*.norm.weight", Param::kWidth},
    If(HasAttention, {"blk.*.attn_q.weight", "backbone.layers.*.mixer.q_proj.weight", Param::kQ,
                      Param::kWidth, TensorOp::kRotaryQ}),
    If(HasAttention, {"blk.*.attn_k.weight", "backbone.layers.*.mixer.k_proj.weight", Param::kKv,
                      Param::kWidth, TensorOp::kRotaryK}),
    If(HasAttention,
       {"blk.*.attn_v.weight", "backbone.layers.*.mixer.v_proj.weight", Param::kKv, Param::kWidth}),
    If(HasAttention, {"blk.*.attn_output.weight", "backbone.layers.*.mixer.o_proj.weight",
                      Param::kWidth, Param::kQ}),
    If(IsMlp, {"blk.*.ffn_up.weight", "backbone.layers.*.mixer.up_proj.weight", Param::kFfn,
               Param::kWidth, TensorOp::kCopy, Param::kMlpBias}),
    If(IsMlp, {"blk.*.ffn_down.weight", "backbone.layers.*.mixer.down_proj.weight", Param::kWidth,
               Param::kFfn, TensorOp::kCopy, Param::kMlpBias}),
}};
constexpr auto kNemotronHMamba =
    Where(IsNemotronHMamba, Table<TensorRule>(kMamba2Mixer, kMamba2Norm));
constexpr std::array<TensorRule, 8> kNemotronHExperts = {{
    If(IsSparse, {"blk.*.ffn_gate_inp.weight", "backbone.layers.*.mixer.gate.weight",
                  Param::kExperts, Param::kWidth}),
    If(IsSparse, {"blk.*.exp_probs_b.bias", "backbone.layers.*.mixer.gate.e_score_correction_bias",
                  Param::kExperts}),
    If(HasLatent, {"blk.*.ffn_latent_down.weight", "backbone.layers.*.mixer.fc1_latent_proj.weight",
                   Param::kLatent, Param::kWidth, TensorOp::kCopy, Param::kMlpBias}),
    If(HasLatent, {"blk.*.ffn_latent_up.weight", "backbone.layers.*.mixer.fc2_latent_proj.weight",
                   Param::kWidth, Param::kLatent, TensorOp::kCopy, Param::kMlpBias}),
    If(IsSparse,
       OrFused({"blk.*.ffn_up_exps.weight", "backbone.layers.*.mixer.experts.#.up_proj.weight",
                Param::kExpertFfn, Param::kExpertWidth, TensorOp::kExperts},
               "backbone.layers.*.mixer.experts.up_proj", TensorOp::kStackedExperts)),
    If(IsSparse,
       OrFused({"blk.*.ffn_down_exps.weight", "backbone.layers.*.mixer.experts.#.down_proj.weight",
                Param::kExpertWidth, Param::kExpertFfn, TensorOp::kExperts},
               "backbone.layers.*.mixer.experts.down_proj", TensorOp::kStackedExperts)),
    If(IsSparse,
       {"blk.*.ffn_up_shexp.weight", "backbone.layers.*.mixer.shared_experts.up_proj.weight",
        Param::kSharedFfn, Param::kWidth, TensorOp::kCopy, Param::kMlpBias}),
    If(IsSparse,
       {"blk.*.ffn_down_shexp.weight", "backbone.layers.*.mixer.shared_experts.down_proj.weight",
        Param::kWidth, Param::kSharedFfn, TensorOp::kCopy, Param::kMlpBias}),
}};
constexpr auto kNemotronHTensors = Table<TensorRule>(kCommon, kNemotronHMamba);
constexpr auto kNemotronHMoeTensors =
    Table<TensorRule>(kCommon, kNemotronHMamba, kNemotronHExperts);

constexpr std::string_view kListKey = "layers_block_type|layer_types",
                           kPatternKey = "hybrid_override_pattern";

/// 'M', '*', '-' or 'E' a layer; an empty text where the configuration has none of that kind.
char LetterOf(std::string_view name) {
  constexpr std::pair<std::string_view, char> kLetters[] = {
      {"mamba", 'M'},     {"linear_attention", 'M'},
      {"attention", '*'}, {"full_attention", '*'},
      {"mlp", '-'},       {"moe", 'E'}};
  for (const auto& [known, kind] : kLetters) {
    if (known == name) return kind;
  }
  return '?';
}
std::string LettersOf(const Config& config) {
  std::string pattern;
  const JsonValue* list = config.Find(kListKey);
  if (list != nullptr && list->as_array() != nullptr) {
    for (const JsonValue& name : *list->as_array())
      pattern += name.is_string() ? LetterOf(*name.as_string()) : '?';
    config.Find(kPatternKey);  // the list counts
    return pattern;
  }
  const JsonValue* text = config.Find(kPatternKey);
  if (text != nullptr && text->is_string()) return *text->as_string();
  return "ME*-";
}

bool HasNemotronHExperts(const Config& config) {
  return LettersOf(config).find('E') != std::string::npos;
}
bool HasNemotronHNoExperts(const Config& config) { return !HasNemotronHExperts(config); }

absl::Status ReadNemotronHPattern(FamilyContext& context) {
  Hyper& h = context.hyper;
  const std::string pattern = LettersOf(context.config);
  if (pattern.empty() || pattern.find_first_not_of("M*-E") != std::string::npos) {
    return context.config.Bad(
        Cat(kListKey, "|", kPatternKey),
        "names a layer of an unknown kind; expected mamba (M), attention (*), mlp (-) or moe (E)");
  }
  if (h.Has(Param::kLayers) && h(Param::kLayers) != pattern.size()) {
    context.notes.push_back(Cat("num_hidden_layers is ", h(Param::kLayers), ", but ",
                                pattern.size(),
                                " layers are listed: the list counts, here as in transformers"));
  }
  h.Set(Param::kLayers, static_cast<double>(pattern.size()));
  for (char kind : pattern) {
    context.kv_heads.push_back(kind == '*' ? static_cast<int32_t>(h(Param::kKvHeads)) : 0);
    context.ffn.push_back(static_cast<int32_t>(kind == '-'   ? h(Param::kFfn)
                                               : kind == 'E' ? h(Param::kExpertFfn)
                                                             : 0));
    context.sparse.push_back(kind == 'E');
  }
  const bool mixed =
      pattern.find('E') != std::string::npos && pattern.find('-') != std::string::npos;
  if (mixed) context.differences.push_back("cannot load MLPs among layers with experts");
  return absl::OkStatus();
}

absl::Status DeriveNemotronH(FamilyContext& context) {
  Hyper& h = context.hyper;
  SMELT_RETURN_IF_ERROR(ReadNemotronHPattern(context));
  h.Set(Param::kContext, 1 << 20);  // there is no limit
  h.Set(Param::kStatedRopeDims, static_cast<double>(h(Param::kWidth) / h(Param::kHeads)));
  h.Set(Param::kExpertWidth, h.real(h.Has(Param::kLatent) ? Param::kLatent : Param::kWidth));
  SMELT_RETURN_IF_ERROR(DeriveMamba2(context, h(Param::kSsmHeads) * h(Param::kSsmHeadSize),
                                     "mamba_num_heads", "mamba_head_dim", "n_groups"));
  // The class's only limit of the time step, whatever time_step_limit says.
  if (h.real(Param::kTimeStepMin) > 0) {
    WriteOwn<float>(context.extra, "smelt.ssm.time_step_min",
                    static_cast<float>(h.real(Param::kTimeStepMin)));
    context.differences.push_back("ignores the lower limit of the time step");
  }
  if (h.flag(Param::kBias) || h.flag(Param::kMlpBias))
    context.differences.push_back("cannot load biases of the projections");
  return absl::OkStatus();
}

}  // namespace

const Family kNemotronH = {
    .names = kNemotronHNames,
    .model_type = "nemotron_h",
    .architecture = kNemotronHArchitecture,
    .meant = HasNemotronHNoExperts,
    .hypers = kNemotronHHypers,
    .fixed = kNemotronHFixed,
    .keys = kNemotronHKeys,
    .tensors = kNemotronHTensors,
    .body = "backbone.",
    .rotary = false,
    .activation_key = "mlp_hidden_act",
    .activation = "relu2",
    .layer_types = LayerTypes::kMixers,
    .derive = DeriveNemotronH,
};

const Family kNemotronHMoe = {
    .names = kNemotronHNames,
    .model_type = "nemotron_h",
    .architecture = kNemotronHMoeArchitecture,
    .meant = HasNemotronHExperts,
    .hypers = kNemotronHMoeHypers,
    .fixed = kNemotronHFixed,
    .keys = kNemotronHMoeKeys,
    .tensors = kNemotronHMoeTensors,
    .body = "backbone.",
    .rotary = false,
    .activation_key = "mlp_hidden_act",
    .activation = "relu2",
    .layer_types = LayerTypes::kMixers,
    .derive = DeriveNemotronH,
};

}  // namespace smelt
