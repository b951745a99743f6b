// Mistral Small 4 in Mistral's own layout (params.json): latent attention with experts. What its
// keys and tensors are called in transformers is in its convert_mistral4_weight_to_hf.py.
#include "lib/base/status.h"
#include "lib/model/families/families.h"

namespace smelt {
namespace {

constexpr std::string_view kMistral4ParamsNames[] = {"Mistral's params.json"};

constexpr HyperRule kMistral4ParamsHypers[] = {
    {Param::kLayers, "n_layers", HyperKind::kCount, kRequired, 1, 1 << 16},
    {Param::kWidth, "dim"},
    {Param::kFfn, "hidden_dim"},
    {Param::kVocab, "vocab_size"},
    {Param::kHeads, "n_heads", HyperKind::kCount},
    {Param::kKvHeads, "n_kv_heads", HyperKind::kCount, SameAs(Param::kHeads)},
    {Param::kHeadDim, "qk_rope_head_dim", HyperKind::kCount, Default(64), 2, 1 << 16},
    {Param::kPlainSize, "qk_nope_head_dim", HyperKind::kCount, Default(64), 1, 1 << 16},
    {Param::kValueSize, "v_head_dim", HyperKind::kCount, Default(128), 1, 1 << 16},
    {Param::kQRank, "q_lora_rank", HyperKind::kCount, kAbsent, 1, 1 << 16},
    {Param::kKvRank, "kv_lora_rank", HyperKind::kCount, kRequired, 1, 1 << 16},
    {Param::kEps, "norm_eps", HyperKind::kReal, Default(1e-5), 0, 1e3},
    {Param::kContext, "max_position_embeddings|max_seq_len", HyperKind::kCount, Default(1048576), 1,
     1 << 30},
    Flag(Param::kTied, "tied_embeddings", false),
};

constexpr FixedRule kMistral4ParamsFixed[] = {
    {"use_biases", "false"}, {"lora", "null"}, {"causal", "true"}, {"sliding_window", "null"}};

bool HasMistral4QRank(const FamilyContext& context, uint64_t) {
  return context.hyper.Has(Param::kQRank);
}
bool HasNoMistral4QRank(const FamilyContext& context, uint64_t layer) {
  return !HasMistral4QRank(context, layer);
}

constexpr TensorRule kMistral4ParamsTensors[] = {
    {"token_embd.weight", "tok_embeddings.weight", Param::kVocab, Param::kWidth},
    {"output_norm.weight", "norm.weight", Param::kWidth},
    If(IsUntied, {"output.weight", "output.weight", Param::kVocab, Param::kWidth}),
    {"blk.*.attn_norm.weight", "layers.*.attention_norm.weight", Param::kWidth},
    If(HasMistral4QRank,
       {"blk.*.attn_q_a.weight", "layers.*.attention.wq_a.weight", Param::kQRank, Param::kWidth}),
    If(HasMistral4QRank,
       {"blk.*.attn_q_a_norm.weight", "layers.*.attention.q_a_norm.weight", Param::kQRank}),
    If(HasMistral4QRank,
       {"blk.*.attn_q_b.weight", "layers.*.attention.wq_b.weight", Param::kLatentQ, Param::kQRank}),
    If(HasNoMistral4QRank,
       {"blk.*.attn_q.weight", "layers.*.attention.wq.weight", Param::kLatentQ, Param::kWidth}),
    {"blk.*.attn_kv_a_mqa.weight", "layers.*.attention.wkv_a_with_mqa.weight", Param::kLatentKv,
     Param::kWidth},
    {"blk.*.attn_kv_a_norm.weight", "layers.*.attention.kv_a_norm.weight", Param::kKvRank},
    {"blk.*.attn_k_b.weight", "layers.*.attention.wkv_b.weight", Param::kLatentKvB, Param::kKvRank,
     TensorOp::kLatentKeys},
    {"blk.*.attn_v_b.weight", "layers.*.attention.wkv_b.weight", Param::kLatentKvB, Param::kKvRank,
     TensorOp::kLatentValues},
    {"blk.*.attn_output.weight", "layers.*.attention.wo.weight", Param::kWidth, Param::kLatentOut},
    {"blk.*.ffn_norm.weight", "layers.*.ffn_norm.weight", Param::kWidth},
    If(IsDense,
       {"blk.*.ffn_gate.weight", "layers.*.feed_forward.w1.weight", Param::kFfn, Param::kWidth}),
    If(IsDense,
       {"blk.*.ffn_up.weight", "layers.*.feed_forward.w3.weight", Param::kFfn, Param::kWidth}),
    If(IsDense,
       {"blk.*.ffn_down.weight", "layers.*.feed_forward.w2.weight", Param::kWidth, Param::kFfn}),
    If(IsSparse,
       {"blk.*.ffn_gate_inp.weight", "layers.*.gate.weight", Param::kExperts, Param::kWidth}),
    If(IsSparse, {"blk.*.ffn_gate_exps.weight", "layers.*.experts.#.w1.weight", Param::kExpertFfn,
                  Param::kWidth, TensorOp::kExperts}),
    If(IsSparse, {"blk.*.ffn_up_exps.weight", "layers.*.experts.#.w3.weight", Param::kExpertFfn,
                  Param::kWidth, TensorOp::kExperts}),
    If(IsSparse, {"blk.*.ffn_down_exps.weight", "layers.*.experts.#.w2.weight", Param::kWidth,
                  Param::kExpertFfn, TensorOp::kExperts}),
    If(HasSharedExperts, {"blk.*.ffn_gate_shexp.weight", "layers.*.shared_experts.w1.weight",
                          Param::kSharedFfn, Param::kWidth}),
    If(HasSharedExperts, {"blk.*.ffn_up_shexp.weight", "layers.*.shared_experts.w3.weight",
                          Param::kSharedFfn, Param::kWidth}),
    If(HasSharedExperts, {"blk.*.ffn_down_shexp.weight", "layers.*.shared_experts.w2.weight",
                          Param::kWidth, Param::kSharedFfn}),
};

/// What `moe` says; transformers' converter has these values where it does not.
absl::Status ReadMistral4Experts(FamilyContext& context) {
  struct Member {
    Param param;
    std::string_view key;
    uint64_t absent, low;
  };
  constexpr Member kMembers[] = {
      {Param::kExperts, "num_experts", 128, 1},
      {Param::kExpertsUsed, "num_experts_per_tok", 4, 1},
      {Param::kExpertFfn, "expert_hidden_dim", 2048, 1},
      {Param::kSharedCount, "num_shared_experts", 1, 1},
      {Param::kDenseLayers, "first_k_dense_replace", 0, 0},
      {Param::kExpertGroups, "num_expert_groups", 1, 1},
      {Param::kExpertGroupsUsed, "num_expert_groups_per_tok", 1, 1},
  };
  SMELT_ASSIGN_OR_RETURN(const Config moe, context.config.Nested("moe"));
  for (const Member& member : kMembers) {
    SMELT_ASSIGN_OR_RETURN(const auto count, moe.Count(member.key, member.low, 1 << 24));
    context.hyper.Set(member.param, static_cast<double>(count.value_or(member.absent)));
  }
  SMELT_ASSIGN_OR_RETURN(const auto period, moe.Count("route_every_n"));
  if (period.value_or(1) != 1 || context.hyper(Param::kExpertGroups) != 1) {
    return context.config.Bad("moe",
                              "has route_every_n or num_expert_groups, of which only 1 is known");
  }
  SMELT_ASSIGN_OR_RETURN(const auto scale, moe.Real("routed_scale"));
  context.hyper.Set(Param::kExpertScale, scale.value_or(1));
  context.hyper.Set(Param::kNormTopkProb, 1);
  return absl::OkStatus();
}

absl::Status DeriveMistral4Params(FamilyContext& context) {
  if (!context.config.Has("moe")) return context.config.Bad("moe", "is missing");
  SMELT_RETURN_IF_ERROR(ReadMistral4Experts(context));
  SMELT_RETURN_IF_ERROR(ReadMistralRotation(context));
  if (!context.config.Has("rope_theta")) context.rope.full.theta = 10000;
  return DeriveLatentModel(context);
}

}  // namespace

const Family kMistral4Native = {
    .names = kMistral4ParamsNames,
    .architecture = kMistral4Architecture,
    .hypers = kMistral4ParamsHypers,
    .fixed = kMistral4ParamsFixed,
    .keys = kMistral4KeyRules,
    .tensors = kMistral4ParamsTensors,
    .body = "",
    .head = "output.weight",
    .activation_key = "",
    .derive = DeriveMistral4Params,
};

}  // namespace smelt
