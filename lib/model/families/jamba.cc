// Jamba: attention without rotation, Mamba with norms on dt, B and C, dense and expert layers, each
// by its own period. Defaults: transformers models/jamba/configuration_jamba.py.
#include "lib/base/status.h"
#include "lib/model/families/families.h"

namespace smelt {

const Architecture kJambaArchitecture = {.name = "jamba",
                                         .rope = RopeStyle::kNone,
                                         .normalize_experts = false,
                                         .recurrence = Recurrence::kMamba1WithNorms,
                                         .read_blocks = ReadHybridBlocks};

namespace {

constexpr std::string_view kJambaNames[] = {"JambaForCausalLM", "JambaModel"};

constexpr HyperRule kJambaHypers[] = {
    kLayers,
    kWidth,
    Vocab(65536),
    Ffn(14336),
    Heads(32),
    KvHeads(Default(8)),
    Context(262144),
    RmsEps(1e-6),
    Tied(false),
    NumExperts(16),
    ExpertsUsed(2),
    {Param::kConv, "mamba_d_conv", HyperKind::kCount, Default(4), 1, 1 << 10},
    {Param::kState, "mamba_d_state", HyperKind::kCount, Default(16), 1, 1 << 16},
    {Param::kExpand, "mamba_expand", HyperKind::kCount, Default(2), 1, 1 << 10},
    {Param::kAttentionPeriod, "attn_layer_period", HyperKind::kCount, Default(8)},
    {Param::kAttentionOffset, "attn_layer_offset", HyperKind::kCount, Default(4), 0},
    {Param::kExpertPeriod, "expert_layer_period", HyperKind::kCount, Default(2)},
    {Param::kExpertOffset, "expert_layer_offset", HyperKind::kCount, Default(1), 0},
    Flag(Param::kConvBias, "mamba_conv_bias", true),
    Flag(Param::kBias, "mamba_proj_bias", false),
};

constexpr FixedRule kJambaFixed[] = {{"hidden_act", "\"silu\"|\"swish\""},
                                     {"sliding_window", "null"}};

constexpr KeyRule kJambaKeys[] = {
    {"block_count", ValueType::kU32, Param::kLayers},
    {"context_length", ValueType::kU32, Param::kContext},
    {"embedding_length", ValueType::kU32, Param::kWidth},
    {"feed_forward_length", ValueType::kU32, Param::kFfn},
    {"attention.head_count", ValueType::kU32, Param::kHeads},
    kKvHeadsKey,
    {"ssm.conv_kernel", ValueType::kU32, Param::kConv},
    {"ssm.inner_size", ValueType::kU32, Param::kInner},
    {"ssm.state_size", ValueType::kU32, Param::kState},
    {"ssm.time_step_rank", ValueType::kU32, Param::kRank},
    {"attention.layer_norm_rms_epsilon", ValueType::kF32, Param::kEps},
    {"expert_count", ValueType::kU32, Param::kExperts},
    {"expert_used_count", ValueType::kU32, Param::kExpertsUsed},
    kFileTypeKey,
};

bool IsAttention(const FamilyContext& context, uint64_t layer) {
  return context.kv_heads[layer] != 0;
}
bool IsJambaMamba(const FamilyContext& context, uint64_t layer) {
  return context.kv_heads[layer] == 0;
}

constexpr TensorRule kJambaTensors[] = {
    {"token_embd.weight", "model.embed_tokens.weight", Param::kVocab, Param::kWidth},
    {"output_norm.weight", "model.final_layernorm.weight", Param::kWidth, Param::kNone},
    If(IsUntied, {"output.weight", "lm_head.weight", Param::kVocab, Param::kWidth}),
    {"blk.*.attn_norm.weight", "model.layers.*.input_layernorm.weight", Param::kWidth,
     Param::kNone},
    If(IsAttention,
       {"blk.*.attn_q.weight", "model.layers.*.self_attn.q_proj.weight", Param::kQ, Param::kWidth}),
    If(IsAttention, {"blk.*.attn_k.weight", "model.layers.*.self_attn.k_proj.weight", Param::kKv,
                     Param::kWidth}),
    If(IsAttention, {"blk.*.attn_v.weight", "model.layers.*.self_attn.v_proj.weight", Param::kKv,
                     Param::kWidth}),
    If(IsAttention, {"blk.*.attn_output.weight", "model.layers.*.self_attn.o_proj.weight",
                     Param::kWidth, Param::kQ}),
    If(IsJambaMamba, {"blk.*.ssm_in.weight", "model.layers.*.mamba.in_proj.weight",
                      Param::kTwoInner, Param::kWidth, TensorOp::kCopy, Param::kBias}),
    If(IsJambaMamba, {"blk.*.ssm_conv1d.weight", "model.layers.*.mamba.conv1d.weight",
                      Param::kInner, Param::kConv, TensorOp::kConv, Param::kConvBias}),
    If(IsJambaMamba,
       {"blk.*.ssm_x.weight", "model.layers.*.mamba.x_proj.weight", Param::kXRows, Param::kInner}),
    If(IsJambaMamba, {"blk.*.ssm_dt_norm.weight", "model.layers.*.mamba.dt_layernorm.weight",
                      Param::kRank, Param::kNone}),
    If(IsJambaMamba, {"blk.*.ssm_b_norm.weight", "model.layers.*.mamba.b_layernorm.weight",
                      Param::kState, Param::kNone}),
    If(IsJambaMamba, {"blk.*.ssm_c_norm.weight", "model.layers.*.mamba.c_layernorm.weight",
                      Param::kState, Param::kNone}),
    If(IsJambaMamba, {"blk.*.ssm_dt.weight", "model.layers.*.mamba.dt_proj.weight", Param::kInner,
                      Param::kRank, TensorOp::kCopy, Param::kAlways}),
    If(IsJambaMamba, {"blk.*.ssm_a", "model.layers.*.mamba.A_log", Param::kInner, Param::kState,
                      TensorOp::kNegativeExp}),
    If(IsJambaMamba, {"blk.*.ssm_d", "model.layers.*.mamba.D", Param::kInner, Param::kNone}),
    If(IsJambaMamba, {"blk.*.ssm_out.weight", "model.layers.*.mamba.out_proj.weight", Param::kWidth,
                      Param::kInner, TensorOp::kCopy, Param::kBias}),
    {"blk.*.ffn_norm.weight", "model.layers.*.pre_ff_layernorm.weight", Param::kWidth,
     Param::kNone},
    If(IsDense, {"blk.*.ffn_gate.weight", "model.layers.*.feed_forward.gate_proj.weight",
                 Param::kFfn, Param::kWidth}),
    If(IsDense, {"blk.*.ffn_up.weight", "model.layers.*.feed_forward.up_proj.weight", Param::kFfn,
                 Param::kWidth}),
    If(IsDense, {"blk.*.ffn_down.weight", "model.layers.*.feed_forward.down_proj.weight",
                 Param::kWidth, Param::kFfn}),
    If(IsSparse, {"blk.*.ffn_gate_inp.weight", "model.layers.*.feed_forward.router.weight",
                  Param::kExperts, Param::kWidth}),
    If(IsSparse,
       OrFused(
           {"blk.*.ffn_gate_exps.weight", "model.layers.*.feed_forward.experts.#.gate_proj.weight",
            Param::kFfn, Param::kWidth, TensorOp::kExperts},
           "model.layers.*.feed_forward.experts.gate_up_proj", TensorOp::kFusedExpertsFirst)),
    If(IsSparse,
       OrFused({"blk.*.ffn_up_exps.weight", "model.layers.*.feed_forward.experts.#.up_proj.weight",
                Param::kFfn, Param::kWidth, TensorOp::kExperts},
               "model.layers.*.feed_forward.experts.gate_up_proj", TensorOp::kFusedExpertsSecond)),
    If(IsSparse,
       OrFused(
           {"blk.*.ffn_down_exps.weight", "model.layers.*.feed_forward.experts.#.down_proj.weight",
            Param::kWidth, Param::kFfn, TensorOp::kExperts},
           "model.layers.*.feed_forward.experts.down_proj", TensorOp::kStackedExperts)),
};

absl::Status DeriveJamba(FamilyContext& context) {
  Hyper& h = context.hyper;
  if (h(Param::kAttentionOffset) >= h(Param::kAttentionPeriod)) {
    return context.config.Bad("attn_layer_offset", "is not smaller than attn_layer_period");
  }
  if (h(Param::kExpertOffset) >= h(Param::kExpertPeriod)) {
    return context.config.Bad("expert_layer_offset", "is not smaller than expert_layer_period");
  }
  for (uint64_t i = 0; i < h(Param::kLayers); ++i) {
    const bool attention = i % h(Param::kAttentionPeriod) == h(Param::kAttentionOffset);
    context.kv_heads.push_back(attention ? static_cast<int32_t>(h(Param::kKvHeads)) : 0);
    context.sparse.push_back(h(Param::kExperts) > 1 &&
                             i % h(Param::kExpertPeriod) == h(Param::kExpertOffset));
  }
  if (h(Param::kExperts) == 1) h.Set(Param::kExpertsUsed, 1);  // every layer is dense
  SMELT_ASSIGN_OR_RETURN(const uint64_t rank, ReadTimeStepRank(context, "mamba_dt_rank"));
  const uint64_t inner = h(Param::kExpand) * h(Param::kWidth);
  h.Set(Param::kInner, static_cast<double>(inner));
  h.Set(Param::kTwoInner, 2.0 * static_cast<double>(inner));
  h.Set(Param::kRank, static_cast<double>(rank));
  h.Set(Param::kXRows, static_cast<double>(rank + 2 * h(Param::kState)));
  if (h(Param::kExpand) != 2)
    context.differences.push_back("cannot load an inner size other than twice the width");
  if (h.flag(Param::kBias)) context.differences.push_back("cannot load biases of the projections");
  return absl::OkStatus();
}

}  // namespace

const Family kJamba = {
    .names = kJambaNames,
    .model_type = "jamba",
    .architecture = kJambaArchitecture,
    .hypers = kJambaHypers,
    .fixed = kJambaFixed,
    .keys = kJambaKeys,
    .tensors = kJambaTensors,
    .rotary = false,
    .activation_key = "",
    .derive = DeriveJamba,
};

}  // namespace smelt
