// Rows that the tables of several families have in common, and groups of them.
#pragma once

#include <array>
#include <string_view>
#include <tuple>
#include <type_traits>

#include "lib/model/family.h"

namespace smelt {

template <typename Row, typename Part>
inline constexpr size_t kRowsIn = std::tuple_size_v<Part>;
template <typename Row>
inline constexpr size_t kRowsIn<Row, Row> = 1;

/// A table of rows and of groups of rows (arrays), in their order.
template <typename Row, typename... Parts>
constexpr auto Table(const Parts&... parts) {
  std::array<Row, (kRowsIn<Row, Parts> + ...)> table{};
  size_t at = 0;
  const auto add = [&](const auto& part) {
    if constexpr (std::is_same_v<std::remove_cvref_t<decltype(part)>, Row>) {
      table[at++] = part;
    } else {
      for (const Row& row : part) table[at++] = row;
    }
  };
  (add(parts), ...);
  return table;
}

// Rows of hyperparameter tables that most families have; the argument is the class's default.
inline constexpr HyperRule kLayers{
    Param::kLayers, "num_hidden_layers", HyperKind::kCount, kRequired, 1, 1 << 16};
inline constexpr HyperRule kWidth{Param::kWidth, "hidden_size"};
constexpr HyperRule Vocab(double n) {
  return {Param::kVocab, "vocab_size", HyperKind::kCount, Default(n)};
}
constexpr HyperRule Ffn(double n) {
  return {Param::kFfn, "intermediate_size", HyperKind::kCount, Default(n)};
}
constexpr HyperRule Heads(double n) {
  return {Param::kHeads, "num_attention_heads", HyperKind::kCount, Default(n)};
}
/// null means as many as heads.
constexpr HyperRule KvHeads(Fallback fallback) {
  return {Param::kKvHeads, "num_key_value_heads", HyperKind::kCount, fallback, 1,
          1 << 24,         SameAs(Param::kHeads)};
}
constexpr HyperRule HeadDim(Fallback fallback = kAbsent) {
  return {Param::kHeadDim, "head_dim", HyperKind::kCount, fallback, 1, 1 << 16};
}
constexpr HyperRule Context(double n) {
  return {Param::kContext, "max_position_embeddings", HyperKind::kCount, Default(n), 1, 1 << 30};
}
constexpr HyperRule RmsEps(double eps) {
  return {Param::kEps, "rms_norm_eps", HyperKind::kReal, Default(eps), 0, 1e3};
}
constexpr HyperRule Tied(bool tied) {
  return {Param::kTied, "tie_word_embeddings", HyperKind::kFlag, Default(tied ? 1 : 0)};
}
constexpr HyperRule Flag(Param param, std::string_view config, bool value) {
  return {param, config, HyperKind::kFlag, Default(value ? 1 : 0)};
}
/// Where it is null there is none.
constexpr HyperRule Window(Fallback absent) {
  return {Param::kWindow, "sliding_window", HyperKind::kCount, absent, 0, 1 << 30, kAbsent};
}
constexpr HyperRule NumExperts(double n) {
  return {Param::kExperts, "num_local_experts|num_experts", HyperKind::kCount, Default(n), 1,
          1 << 16};
}
constexpr HyperRule ExpertsUsed(double n) {
  return {Param::kExpertsUsed, "num_experts_per_tok", HyperKind::kCount, Default(n), 1, 1 << 16};
}

/// What a class of decoders has where config.json does not say.
struct DecoderDefaults {
  double vocab = 0, ffn = 0, heads = 0;
  Fallback kv_heads = SameAs(Param::kHeads), head_dim = kAbsent;
  double context = 0;
  HyperRule eps = RmsEps(1e-6);
  bool tied = false;
};
/// The sizes of such a class.
constexpr std::array<HyperRule, 10> DecoderHypers(const DecoderDefaults& d) {
  return {{kLayers, kWidth, Vocab(d.vocab), Ffn(d.ffn), Heads(d.heads), KvHeads(d.kv_heads),
           HeadDim(d.head_dim), Context(d.context), d.eps, Tied(d.tied)}};
}
constexpr HyperRule Eps(std::string_view config, double eps) {
  return {Param::kEps, config, HyperKind::kReal, Default(eps), 0, 1e3};
}
/// Of multipliers; null is refused.
constexpr HyperRule Factor(Param param, std::string_view config, double value) {
  return {param, config, HyperKind::kReal, Default(value), 1e-9, 1e9};
}

// Conditions of tensors.
inline bool IsUntied(const FamilyContext& context, uint64_t) {
  return !context.hyper.flag(Param::kTied);
}
inline bool IsTied(const FamilyContext& context, uint64_t) {
  return context.hyper.flag(Param::kTied);
}
inline bool IsSparse(const FamilyContext& context, uint64_t layer) {
  return context.sparse.empty() || context.sparse[layer];
}
inline bool HasSharedExperts(const FamilyContext& context, uint64_t layer) {
  return IsSparse(context, layer) && context.hyper(Param::kSharedFfn) != 0;
}
inline bool IsDense(const FamilyContext& context, uint64_t layer) {
  return !IsSparse(context, layer);
}

// Groups of GGUF keys.

inline constexpr std::array<KeyRule, 7> kSizeKeys = {{
    {"block_count", ValueType::kU32, Param::kBlocks},
    {"context_length", ValueType::kU32, Param::kContext},
    {"embedding_length", ValueType::kU32, Param::kWidth},
    {"feed_forward_length", ValueType::kU32, Param::kFfn},
    {"attention.head_count", ValueType::kU32, Param::kHeads},
    {"attention.head_count_kv", ValueType::kU32, Param::kKvHeads},
    kRopeKeys,
}};
inline constexpr KeyRule kDraftKey{"nextn_predict_layers", ValueType::kU32, Param::kDraft};
inline constexpr KeyRule kRmsEpsKey{"attention.layer_norm_rms_epsilon", ValueType::kF32,
                                    Param::kEps};
inline constexpr std::array<KeyRule, 2> kExpertKeys = {{
    {"expert_count", ValueType::kU32, Param::kExperts},
    {"expert_used_count", ValueType::kU32, Param::kExpertsUsed},
}};
inline constexpr std::array<KeyRule, 2> kExpertGroupKeys = {{
    {"expert_group_count", ValueType::kU32, Param::kExpertGroups},
    {"expert_group_used_count", ValueType::kU32, Param::kExpertGroupsUsed},
}};
/// `size`: head_dim, or given_head_dim, which is there only where config.json has it.
constexpr std::array<KeyRule, 2> HeadSizeKeys(Param size) {
  return {{{"attention.key_length", ValueType::kU32, size},
           {"attention.value_length", ValueType::kU32, size}}};
}

// Groups of tensors under the names that most families publish. `bias`: the flag that promises one.

inline constexpr std::array<TensorRule, 3> kEnds = {{
    {"token_embd.weight", "model.embed_tokens.weight", Param::kVocab, Param::kWidth},
    {"output_norm.weight", "model.norm.weight", Param::kWidth, Param::kNone},
    If(IsUntied, {"output.weight", "lm_head.weight", Param::kVocab, Param::kWidth}),
}};
/// For architectures of which llama.cpp wants an output matrix, tied or not.
inline constexpr TensorRule kOutputOfTied =
    If(IsTied, {"output.weight", "model.embed_tokens.weight", Param::kVocab, Param::kWidth});

inline constexpr TensorRule kAttentionNorm{
    "blk.*.attn_norm.weight", "model.layers.*.input_layernorm.weight", Param::kWidth, Param::kNone};
/// `rotary_q`, `rotary_k`: where their rows are put in another order.
constexpr std::array<TensorRule, 4> AttentionTensors(Param bias, Param output_bias,
                                                     TensorOp rotary_q = TensorOp::kCopy,
                                                     TensorOp rotary_k = TensorOp::kCopy) {
  return {{
      {"blk.*.attn_q.weight", "model.layers.*.self_attn.q_proj.weight", Param::kQ, Param::kWidth,
       rotary_q, bias},
      {"blk.*.attn_k.weight", "model.layers.*.self_attn.k_proj.weight", Param::kKv, Param::kWidth,
       rotary_k, bias},
      {"blk.*.attn_v.weight", "model.layers.*.self_attn.v_proj.weight", Param::kKv, Param::kWidth,
       TensorOp::kCopy, bias},
      {"blk.*.attn_output.weight", "model.layers.*.self_attn.o_proj.weight", Param::kWidth,
       Param::kQ, TensorOp::kCopy, output_bias},
  }};
}
inline constexpr TensorRule kFfnNorm{"blk.*.ffn_norm.weight",
                                     "model.layers.*.post_attention_layernorm.weight",
                                     Param::kWidth, Param::kNone};
constexpr std::array<TensorRule, 3> GatedMlp(Param bias = Param::kNone,
                                             bool (*when)(const FamilyContext&,
                                                          uint64_t) = nullptr) {
  return {{
      If(when, {"blk.*.ffn_gate.weight", "model.layers.*.mlp.gate_proj.weight", Param::kFfn,
                Param::kWidth, TensorOp::kCopy, bias}),
      If(when, {"blk.*.ffn_up.weight", "model.layers.*.mlp.up_proj.weight", Param::kFfn,
                Param::kWidth, TensorOp::kCopy, bias}),
      If(when, {"blk.*.ffn_down.weight", "model.layers.*.mlp.down_proj.weight", Param::kWidth,
                Param::kFfn, TensorOp::kCopy, bias}),
  }};
}

/// A feed-forward part without a gate.
constexpr std::array<TensorRule, 2> PlainMlp(Param bias = Param::kNone) {
  return {{
      {"blk.*.ffn_up.weight", "model.layers.*.mlp.up_proj.weight", Param::kFfn, Param::kWidth,
       TensorOp::kCopy, bias},
      {"blk.*.ffn_down.weight", "model.layers.*.mlp.down_proj.weight", Param::kWidth, Param::kFfn,
       TensorOp::kCopy, bias},
  }};
}
/// A layer norm with a bias.
constexpr TensorRule BiasedNorm(std::string_view target, std::string_view source) {
  return {target, source, Param::kWidth, Param::kNone, TensorOp::kCopy, Param::kAlways};
}
// Norms of q and k: of each head, or over all at once.
inline constexpr std::array<TensorRule, 2> kHeadNorms = {{
    {"blk.*.attn_q_norm.weight", "model.layers.*.self_attn.q_norm.weight", Param::kHeadDim},
    {"blk.*.attn_k_norm.weight", "model.layers.*.self_attn.k_norm.weight", Param::kHeadDim},
}};
inline constexpr std::array<TensorRule, 2> kAllHeadNorms = {{
    {"blk.*.attn_q_norm.weight", "model.layers.*.self_attn.q_norm.weight", Param::kQ},
    {"blk.*.attn_k_norm.weight", "model.layers.*.self_attn.k_norm.weight", Param::kKv},
}};
// Norms after the halves of a block.
inline constexpr TensorRule kPostAttentionNorm{"blk.*.post_attention_norm.weight",
                                               "model.layers.*.post_attention_layernorm.weight",
                                               Param::kWidth};
inline constexpr TensorRule kPostFfnNorm{"blk.*.post_ffw_norm.weight",
                                         "model.layers.*.post_feedforward_layernorm.weight",
                                         Param::kWidth};
/// A router and its experts of `ffn` rows, in layers that have them.
constexpr std::array<TensorRule, 4> ExpertTensors(Param ffn) {
  constexpr std::string_view kFused = "model.layers.*.mlp.experts.gate_up_proj";
  return {{
      If(IsSparse, {"blk.*.ffn_gate_inp.weight", "model.layers.*.mlp.gate.weight", Param::kExperts,
                    Param::kWidth}),
      If(IsSparse,
         OrFused({"blk.*.ffn_gate_exps.weight", "model.layers.*.mlp.experts.#.gate_proj.weight",
                  ffn, Param::kWidth, TensorOp::kExperts},
                 kFused, TensorOp::kFusedExpertsFirst)),
      If(IsSparse,
         OrFused({"blk.*.ffn_up_exps.weight", "model.layers.*.mlp.experts.#.up_proj.weight", ffn,
                  Param::kWidth, TensorOp::kExperts},
                 kFused, TensorOp::kFusedExpertsSecond)),
      If(IsSparse,
         OrFused({"blk.*.ffn_down_exps.weight", "model.layers.*.mlp.experts.#.down_proj.weight",
                  Param::kWidth, ffn, TensorOp::kExperts},
                 "model.layers.*.mlp.experts.down_proj", TensorOp::kStackedExperts)),
  }};
}

/// The same as Mixtral names them and its relatives do, of `Param::kFfn` rows.
inline constexpr std::array<TensorRule, 4> kBlockSparseExperts = {{
    {"blk.*.ffn_gate_inp.weight",
     "model.layers.*.block_sparse_moe.gate.weight|model.layers.*.mlp.gate.weight|"
     "model.layers.*.mlp.router.weight",
     Param::kExperts, Param::kWidth},
    OrFused({"blk.*.ffn_gate_exps.weight", "model.layers.*.block_sparse_moe.experts.#.w1.weight",
             Param::kFfn, Param::kWidth, TensorOp::kExperts},
            "model.layers.*.mlp.experts.gate_up_proj", TensorOp::kFusedExpertsFirst),
    OrFused({"blk.*.ffn_down_exps.weight", "model.layers.*.block_sparse_moe.experts.#.w2.weight",
             Param::kWidth, Param::kFfn, TensorOp::kExperts},
            "model.layers.*.mlp.experts.down_proj", TensorOp::kStackedExperts),
    OrFused({"blk.*.ffn_up_exps.weight", "model.layers.*.block_sparse_moe.experts.#.w3.weight",
             Param::kFfn, Param::kWidth, TensorOp::kExperts},
            "model.layers.*.mlp.experts.gate_up_proj", TensorOp::kFusedExpertsSecond),
}};

/// Layers with and without attention, of models that have both.
inline bool HasAttention(const FamilyContext& context, uint64_t layer) {
  return context.kv_heads[layer] != 0;
}
inline bool HasNoAttention(const FamilyContext& context, uint64_t layer) {
  return context.kv_heads[layer] == 0;
}

/// Rows for some layers only.
template <size_t n>
constexpr std::array<TensorRule, n> Where(bool (*when)(const FamilyContext&, uint64_t layer),
                                          std::array<TensorRule, n> rules) {
  for (TensorRule& rule : rules) rule.when = when;
  return rules;
}

/// Mamba-2 besides its norm.
inline constexpr std::array<TensorRule, 6> kMamba2Mixer = {{
    {"blk.*.ssm_in.weight",
     "backbone.layers.*.mixer.in_proj.weight|model.layers.*.mamba.in_proj.weight", Param::kInRows,
     Param::kWidth, TensorOp::kCopy, Param::kBias},
    {"blk.*.ssm_conv1d.weight",
     "backbone.layers.*.mixer.conv1d.weight|model.layers.*.mamba.conv1d.weight", Param::kChannels,
     Param::kConv, TensorOp::kConv, Param::kConvBias},
    {"blk.*.ssm_dt.bias", "backbone.layers.*.mixer.dt_bias|model.layers.*.mamba.dt_bias",
     Param::kRank, Param::kNone},
    {"blk.*.ssm_a", "backbone.layers.*.mixer.A_log|model.layers.*.mamba.A_log", Param::kRank,
     Param::kOne, TensorOp::kFlatNegativeExp},
    {"blk.*.ssm_d", "backbone.layers.*.mixer.D|model.layers.*.mamba.D", Param::kRank, Param::kOne,
     TensorOp::kFlat},
    {"blk.*.ssm_out.weight",
     "backbone.layers.*.mixer.out_proj.weight|model.layers.*.mamba.out_proj.weight", Param::kWidth,
     Param::kInner, TensorOp::kCopy, Param::kBias},
}};
inline constexpr TensorRule kMamba2Norm{
    "blk.*.ssm_norm.weight", "backbone.layers.*.mixer.norm.weight|model.layers.*.mamba.norm.weight",
    Param::kGroups, Param::kGroupSize, TensorOp::kFlat};

/// Mamba-2 beside attention, as Bamba's class and its relatives name its sizes.
struct Mamba2Defaults {
  double heads = 128, groups = 1, state = 256;
};
constexpr std::array<HyperRule, 7> Mamba2Hypers(const Mamba2Defaults& d = {}) {
  return {{
      {Param::kConv, "mamba_d_conv", HyperKind::kCount, Default(4), 1, 1 << 10},
      {Param::kState, "mamba_d_state", HyperKind::kCount, Default(d.state), 1, 1 << 16},
      {Param::kSsmHeads, "mamba_n_heads", HyperKind::kCount, Default(d.heads), 1, 1 << 20},
      {Param::kGroups, "mamba_n_groups", HyperKind::kCount, Default(d.groups), 1, 1 << 16},
      {Param::kExpand, "mamba_expand", HyperKind::kCount, Default(2), 1, 1 << 10},
      Flag(Param::kConvBias, "mamba_conv_bias", true),
      Flag(Param::kBias, "mamba_proj_bias", false),
  }};
}
inline constexpr std::array<KeyRule, 5> kMamba2Keys = {{
    {"ssm.conv_kernel", ValueType::kU32, Param::kConv},
    {"ssm.state_size", ValueType::kU32, Param::kState},
    {"ssm.group_count", ValueType::kU32, Param::kGroups},
    {"ssm.inner_size", ValueType::kU32, Param::kInner},
    {"ssm.time_step_rank", ValueType::kU32, Param::kRank},
}};

/// Qwen's: always on, with a gate of its own.
inline constexpr std::array<TensorRule, 4> kSharedExpert = {{
    If(IsSparse,
       {"blk.*.ffn_gate_shexp.weight", "model.layers.*.mlp.shared_expert.gate_proj.weight",
        Param::kSharedFfn, Param::kWidth}),
    If(IsSparse, {"blk.*.ffn_up_shexp.weight", "model.layers.*.mlp.shared_expert.up_proj.weight",
                  Param::kSharedFfn, Param::kWidth}),
    If(IsSparse,
       {"blk.*.ffn_down_shexp.weight", "model.layers.*.mlp.shared_expert.down_proj.weight",
        Param::kWidth, Param::kSharedFfn}),
    If(IsSparse, {"blk.*.ffn_gate_inp_shexp.weight", "model.layers.*.mlp.shared_expert_gate.weight",
                  Param::kOne, Param::kWidth}),
}};

// Experts of which some are always on, chosen among groups by scores and a bias, behind a few dense
// layers: DeepSeek's way, which others share.

/// What such a class has where config.json does not say; kRequired: there is no such default.
struct RoutedDefaults {
  Fallback experts = kRequired, used = kRequired, ffn = kRequired, shared = kRequired;
  double dense_layers = 0, groups = 1, groups_used = 1;
  bool normalize = true;
};
constexpr std::array<HyperRule, 9> RoutedHypers(const RoutedDefaults& d) {
  return {{
      {Param::kExperts, "n_routed_experts|num_local_experts", HyperKind::kCount, d.experts, 1,
       1 << 16},
      {Param::kExpertsUsed, "num_experts_per_tok", HyperKind::kCount, d.used, 1, 1 << 16},
      {Param::kExpertFfn, "moe_intermediate_size", HyperKind::kCount, d.ffn},
      {Param::kSharedCount, "n_shared_experts", HyperKind::kCount, d.shared, 0, 1 << 16},
      {Param::kDenseLayers, "first_k_dense_replace", HyperKind::kCount, Default(d.dense_layers), 0,
       1 << 16},
      {Param::kExpertGroups, "n_group", HyperKind::kCount, Default(d.groups), 1, 1 << 16},
      {Param::kExpertGroupsUsed, "topk_group", HyperKind::kCount, Default(d.groups_used), 1,
       1 << 16},
      Flag(Param::kNormTopkProb, "norm_topk_prob", d.normalize),
      Factor(Param::kExpertScale, "routed_scaling_factor", 1),
  }};
}
inline constexpr TensorRule kSelectionBias = If(
    IsSparse,
    {"blk.*.exp_probs_b.bias", "model.layers.*.mlp.gate.e_score_correction_bias", Param::kExperts});
/// The experts that are always on.
inline constexpr std::array<TensorRule, 3> kSharedExpertTensors = {{
    If(HasSharedExperts,
       {"blk.*.ffn_gate_shexp.weight", "model.layers.*.mlp.shared_experts.gate_proj.weight",
        Param::kSharedFfn, Param::kWidth}),
    If(HasSharedExperts,
       {"blk.*.ffn_up_shexp.weight", "model.layers.*.mlp.shared_experts.up_proj.weight",
        Param::kSharedFfn, Param::kWidth}),
    If(HasSharedExperts,
       {"blk.*.ffn_down_shexp.weight", "model.layers.*.mlp.shared_experts.down_proj.weight",
        Param::kWidth, Param::kSharedFfn}),
}};

}  // namespace smelt
