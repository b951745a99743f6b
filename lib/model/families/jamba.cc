// Jamba: attention without rotation, Mamba with norms on dt, B and C, dense and expert layers, each
// by its own period. Defaults: transformers models/jamba/configuration_jamba.py.
#include "lib/base/status.h"
#include "lib/model/families/families.h"
#include "lib/model/ssm_reader.h"

namespace smelt {
namespace {

absl::Status ReadJambaBlocks(SpecReader& reader, const Architecture& architecture,
                             ModelSpec& spec) {
  SMELT_ASSIGN_OR_RETURN(BlockReader blocks, BlockReader::Create(reader, architecture, spec));
  SMELT_RETURN_IF_ERROR(blocks.PrepareAttention());
  SMELT_ASSIGN_OR_RETURN(SsmReader ssm, SsmReader::Create(reader, blocks, false));
  for (uint64_t i = 0; i < blocks.layers(); ++i) {
    LayerSpec layer;
    SMELT_ASSIGN_OR_RETURN(layer.mixer_norm,
                           blocks.ReadNorm(i, architecture.mixer_norm, blocks.width()));
    if (blocks.kv_heads(i) != 0) {
      SMELT_ASSIGN_OR_RETURN(layer.mixer, blocks.ReadAttention(i));
    } else {
      SMELT_ASSIGN_OR_RETURN(layer.mixer, ssm.ReadMamba1(i, true));
    }
    SMELT_ASSIGN_OR_RETURN(layer.ffn_norm,
                           blocks.ReadNorm(i, architecture.ffn_norm, blocks.width()));
    SMELT_RETURN_IF_ERROR(blocks.ReadFfn(i, layer));
    spec.layers.push_back(std::move(layer));
  }
  reader.Ignore({"expert_count", "expert_used_count"});  // where every layer is dense
  return absl::OkStatus();
}

}  // namespace

const Architecture kJambaArchitecture = {.name = "jamba",
                                         .rope = RopeStyle::kNone,
                                         .normalize_experts = false,
                                         .read_blocks = ReadJambaBlocks};

namespace {

constexpr std::string_view kNames[] = {"JambaForCausalLM", "JambaModel"};

constexpr HyperRule kHypers[] = {
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
    {"conv", "mamba_d_conv", HyperKind::kCount, Default(4), 1, 1 << 10},
    {"state", "mamba_d_state", HyperKind::kCount, Default(16), 1, 1 << 16},
    {"expand", "mamba_expand", HyperKind::kCount, Default(2), 1, 1 << 10},
    {"attention_period", "attn_layer_period", HyperKind::kCount, Default(8)},
    {"attention_offset", "attn_layer_offset", HyperKind::kCount, Default(4), 0},
    {"expert_period", "expert_layer_period", HyperKind::kCount, Default(2)},
    {"expert_offset", "expert_layer_offset", HyperKind::kCount, Default(1), 0},
    Flag("conv_bias", "mamba_conv_bias", true),
    Flag("bias", "mamba_proj_bias", false),
};

constexpr FixedRule kFixed[] = {{"hidden_act", "\"silu\"|\"swish\""}, {"sliding_window", "null"}};

constexpr KeyRule kKeys[] = {
    {"block_count", ValueType::kU32, "layers"},
    {"context_length", ValueType::kU32, "context"},
    {"embedding_length", ValueType::kU32, "width"},
    {"feed_forward_length", ValueType::kU32, "ffn"},
    {"attention.head_count", ValueType::kU32, "heads"},
    kKvHeadsKey,
    {"ssm.conv_kernel", ValueType::kU32, "conv"},
    {"ssm.inner_size", ValueType::kU32, "inner"},
    {"ssm.state_size", ValueType::kU32, "state"},
    {"ssm.time_step_rank", ValueType::kU32, "rank"},
    {"attention.layer_norm_rms_epsilon", ValueType::kF32, "eps"},
    {"expert_count", ValueType::kU32, "experts"},
    {"expert_used_count", ValueType::kU32, "experts_used"},
    kFileTypeKey,
};

bool IsAttention(const FamilyContext& context, uint64_t layer) {
  return context.kv_heads[layer] != 0;
}
bool IsMamba(const FamilyContext& context, uint64_t layer) { return context.kv_heads[layer] == 0; }

constexpr TensorRule kTensors[] = {
    {"token_embd.weight", "model.embed_tokens.weight", "vocab", "width"},
    {"output_norm.weight", "model.final_layernorm.weight", "width", ""},
    If(IsUntied, {"output.weight", "lm_head.weight", "vocab", "width"}),
    {"blk.*.attn_norm.weight", "model.layers.*.input_layernorm.weight", "width", ""},
    If(IsAttention,
       {"blk.*.attn_q.weight", "model.layers.*.self_attn.q_proj.weight", "q", "width"}),
    If(IsAttention,
       {"blk.*.attn_k.weight", "model.layers.*.self_attn.k_proj.weight", "kv", "width"}),
    If(IsAttention,
       {"blk.*.attn_v.weight", "model.layers.*.self_attn.v_proj.weight", "kv", "width"}),
    If(IsAttention,
       {"blk.*.attn_output.weight", "model.layers.*.self_attn.o_proj.weight", "width", "q"}),
    If(IsMamba, {"blk.*.ssm_in.weight", "model.layers.*.mamba.in_proj.weight", "two_inner", "width",
                 TensorOp::kCopy, "bias"}),
    If(IsMamba, {"blk.*.ssm_conv1d.weight", "model.layers.*.mamba.conv1d.weight", "inner", "conv",
                 TensorOp::kConv, "conv_bias"}),
    If(IsMamba, {"blk.*.ssm_x.weight", "model.layers.*.mamba.x_proj.weight", "x_rows", "inner"}),
    If(IsMamba,
       {"blk.*.ssm_dt_norm.weight", "model.layers.*.mamba.dt_layernorm.weight", "rank", ""}),
    If(IsMamba,
       {"blk.*.ssm_b_norm.weight", "model.layers.*.mamba.b_layernorm.weight", "state", ""}),
    If(IsMamba,
       {"blk.*.ssm_c_norm.weight", "model.layers.*.mamba.c_layernorm.weight", "state", ""}),
    If(IsMamba, {"blk.*.ssm_dt.weight", "model.layers.*.mamba.dt_proj.weight", "inner", "rank",
                 TensorOp::kCopy, "always"}),
    If(IsMamba,
       {"blk.*.ssm_a", "model.layers.*.mamba.A_log", "inner", "state", TensorOp::kNegativeExp}),
    If(IsMamba, {"blk.*.ssm_d", "model.layers.*.mamba.D", "inner", ""}),
    If(IsMamba, {"blk.*.ssm_out.weight", "model.layers.*.mamba.out_proj.weight", "width", "inner",
                 TensorOp::kCopy, "bias"}),
    {"blk.*.ffn_norm.weight", "model.layers.*.pre_ff_layernorm.weight", "width", ""},
    If(IsDense,
       {"blk.*.ffn_gate.weight", "model.layers.*.feed_forward.gate_proj.weight", "ffn", "width"}),
    If(IsDense,
       {"blk.*.ffn_up.weight", "model.layers.*.feed_forward.up_proj.weight", "ffn", "width"}),
    If(IsDense,
       {"blk.*.ffn_down.weight", "model.layers.*.feed_forward.down_proj.weight", "width", "ffn"}),
    If(IsSparse, {"blk.*.ffn_gate_inp.weight", "model.layers.*.feed_forward.router.weight",
                  "experts", "width"}),
    If(IsSparse,
       OrFused(
           {"blk.*.ffn_gate_exps.weight", "model.layers.*.feed_forward.experts.#.gate_proj.weight",
            "ffn", "width", TensorOp::kExperts},
           "model.layers.*.feed_forward.experts.gate_up_proj", TensorOp::kFusedExpertsFirst)),
    If(IsSparse,
       OrFused({"blk.*.ffn_up_exps.weight", "model.layers.*.feed_forward.experts.#.up_proj.weight",
                "ffn", "width", TensorOp::kExperts},
               "model.layers.*.feed_forward.experts.gate_up_proj", TensorOp::kFusedExpertsSecond)),
    If(IsSparse,
       OrFused(
           {"blk.*.ffn_down_exps.weight", "model.layers.*.feed_forward.experts.#.down_proj.weight",
            "width", "ffn", TensorOp::kExperts},
           "model.layers.*.feed_forward.experts.down_proj", TensorOp::kStackedExperts)),
};

absl::Status Derive(FamilyContext& context) {
  Hyper& h = context.hyper;
  if (h("attention_offset") >= h("attention_period")) {
    return context.config.Bad("attn_layer_offset", "is not smaller than attn_layer_period");
  }
  if (h("expert_offset") >= h("expert_period")) {
    return context.config.Bad("expert_layer_offset", "is not smaller than expert_layer_period");
  }
  for (uint64_t i = 0; i < h("layers"); ++i) {
    const bool attention = i % h("attention_period") == h("attention_offset");
    context.kv_heads.push_back(attention ? static_cast<int32_t>(h("kv_heads")) : 0);
    context.sparse.push_back(h("experts") > 1 && i % h("expert_period") == h("expert_offset"));
  }
  if (h("experts") == 1) h.Set("experts_used", 1);  // every layer is dense
  SMELT_ASSIGN_OR_RETURN(const uint64_t rank, ReadTimeStepRank(context, "mamba_dt_rank"));
  const uint64_t inner = h("expand") * h("width");
  h.Set("inner", static_cast<double>(inner));
  h.Set("two_inner", 2.0 * static_cast<double>(inner));
  h.Set("rank", static_cast<double>(rank));
  h.Set("x_rows", static_cast<double>(rank + 2 * h("state")));
  if (h("expand") != 2)
    context.differences.push_back("cannot load an inner size other than twice the width");
  if (h.flag("bias")) context.differences.push_back("cannot load biases of the projections");
  return absl::OkStatus();
}

}  // namespace

const Family kJamba = {
    .names = kNames,
    .model_type = "jamba",
    .architecture = kJambaArchitecture,
    .hypers = kHypers,
    .fixed = kFixed,
    .keys = kKeys,
    .tensors = kTensors,
    .rotary = false,
    .activation_key = "",
    .derive = Derive,
};

}  // namespace smelt
