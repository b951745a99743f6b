// Falcon-H1: attention and Mamba-2 side by side in every layer, with multipliers that a GGUF has
// folded into its weights. Defaults: transformers models/falcon_h1/configuration_falcon_h1.py.
#include "lib/base/own_keys.h"
#include "lib/base/status.h"
#include "lib/model/families/families.h"

namespace smelt {

const Architecture kFalconH1Architecture = {
    .name = "falcon-h1",
    .recurrence = Recurrence::kMamba2,
    .parts = BlockParts::kBothMixers,
    .read_blocks = ReadHybridBlocks,
};

namespace {

constexpr std::string_view kFalconH1Names[] = {"FalconH1ForCausalLM", "FalconH1Model"};

constexpr auto kFalconH1Hypers = Table<HyperRule>(
    DecoderHypers({.vocab = 128000,
                   .ffn = 14336,
                   .heads = 32,
                   .kv_heads = Default(8),
                   .context = 8192,
                   .eps = RmsEps(1e-5)}),
    Mamba2Hypers(),
    HyperRule{Param::kGivenInner, "mamba_d_ssm", HyperKind::kCount, Default(1024), 1, 1 << 24,
              kAbsent},
    Flag(Param::kSsmNorm, "mamba_rms_norm", false),
    Flag(Param::kNormBeforeGate, "mamba_norm_before_gate", true),
    Factor(Param::kEmbeddingScale, "embedding_multiplier", 1),
    Factor(Param::kHeadMultiplier, "lm_head_multiplier", 1),
    Factor(Param::kKeyMultiplier, "key_multiplier", 1),
    Factor(Param::kAttentionIn, "attention_in_multiplier", 1),
    Factor(Param::kAttentionOut, "attention_out_multiplier", 1),
    Factor(Param::kSsmIn, "ssm_in_multiplier", 1), Factor(Param::kSsmOut, "ssm_out_multiplier", 1));

constexpr FixedRule kFalconH1Fixed[] = {
    {"hidden_act", "\"silu\"|\"swish\""}, {"attention_bias", "false"}, {"mamba_proj_bias", "false"},
    {"projectors_bias", "false"},         {"mlp_bias", "false"},       {"mamba_use_mlp", "true"}};

constexpr auto kFalconH1Keys =
    Table<KeyRule>(KeyRule{"context_length", ValueType::kU32, Param::kContext},
                   KeyRule{"embedding_length", ValueType::kU32, Param::kWidth},
                   KeyRule{"feed_forward_length", ValueType::kU32, Param::kFfn},
                   KeyRule{"attention.head_count", ValueType::kU32, Param::kHeads},
                   KeyRule{"block_count", ValueType::kU32, Param::kLayers},
                   KeyRule{"ssm.conv_kernel", ValueType::kU32, Param::kConv},
                   KeyRule{"ssm.inner_size", ValueType::kU32, Param::kInner},
                   KeyRule{"ssm.state_size", ValueType::kU32, Param::kState},
                   KeyRule{"ssm.time_step_rank", ValueType::kU32, Param::kRank},
                   KeyRule{"ssm.group_count", ValueType::kU32, Param::kGroups}, kRmsEpsKey,
                   kFileTypeKey, KeyRule{"vocab_size", ValueType::kU32, Param::kVocab},
                   KeyRule{"attention.head_count_kv", ValueType::kU32, Param::kKvHeads},
                   HeadSizeKeys(Param::kHeadDim), kRopeKeys);

bool HasSsmNorm(const FamilyContext& context, uint64_t) {
  return context.hyper.flag(Param::kSsmNorm);
}

constexpr std::array<TensorRule, 20> kFalconH1Tensors = {{
    Scaled({"token_embd.weight", "model.embed_tokens.weight", Param::kVocab, Param::kWidth},
           Param::kEmbeddingScale),
    {"output_norm.weight", "model.final_layernorm.weight", Param::kWidth},
    If(IsUntied, Scaled({"output.weight", "lm_head.weight", Param::kVocab, Param::kWidth},
                        Param::kHeadMultiplier)),
    // The embedding's factor is another than the output's.
    If(IsTied, Scaled({"output.weight", "model.embed_tokens.weight", Param::kVocab, Param::kWidth},
                      Param::kHeadMultiplier)),
    kAttentionNorm,
    Scaled(
        {"blk.*.attn_q.weight", "model.layers.*.self_attn.q_proj.weight", Param::kQ, Param::kWidth},
        Param::kAttentionIn),
    Scaled({"blk.*.attn_k.weight", "model.layers.*.self_attn.k_proj.weight", Param::kKv,
            Param::kWidth},
           Param::kKeyMultiplier, Param::kAttentionIn),
    Scaled({"blk.*.attn_v.weight", "model.layers.*.self_attn.v_proj.weight", Param::kKv,
            Param::kWidth},
           Param::kAttentionIn),
    Scaled({"blk.*.attn_output.weight", "model.layers.*.self_attn.o_proj.weight", Param::kWidth,
            Param::kQ},
           Param::kAttentionOut),
    Scaled({"blk.*.ssm_in.weight", "model.layers.*.mamba.in_proj.weight", Param::kInRows,
            Param::kWidth, TensorOp::kSections},
           Param::kSsmIn),
    kMamba2Mixer[1],  // convolution
    kMamba2Mixer[2],  // time step
    kMamba2Mixer[3],  // A
    kMamba2Mixer[4],  // D
    If(HasSsmNorm, kMamba2Norm),
    Scaled({"blk.*.ssm_out.weight", "model.layers.*.mamba.out_proj.weight", Param::kWidth,
            Param::kInner},
           Param::kSsmOut),
    {"blk.*.ffn_norm", "model.layers.*.pre_ff_layernorm.weight", Param::kWidth},
    Scaled({"blk.*.ffn_gate.weight", "model.layers.*.feed_forward.gate_proj.weight", Param::kFfn,
            Param::kWidth},
           Param::kGateMultiplier),
    {"blk.*.ffn_up.weight", "model.layers.*.feed_forward.up_proj.weight", Param::kFfn,
     Param::kWidth},
    Scaled({"blk.*.ffn_down.weight", "model.layers.*.feed_forward.down_proj.weight", Param::kWidth,
            Param::kFfn},
           Param::kDownMultiplier),
}};

/// A list of so many multipliers, ones where the key is absent or null.
absl::StatusOr<std::vector<double>> Multipliers(const Config& config, std::string_view key,
                                                size_t count) {
  SMELT_ASSIGN_OR_RETURN(std::vector<double> values, config.Reals(key));
  if (values.empty()) values.assign(count, 1);
  if (values.size() != count)
    return config.Bad(key, Cat("has ", values.size(), " numbers, expected ", count));
  for (double value : values) {
    if (CheckedFloat(value).value_or(0) == 0)
      return config.Bad(key, Cat("holds ", value, ", expected numbers other than 0"));
  }
  return values;
}

absl::Status DeriveFalconH1(FamilyContext& context) {
  Hyper& h = context.hyper;
  SMELT_RETURN_IF_ERROR(ReadMambaHeadSize(context));
  const uint64_t inner =
      h.Has(Param::kGivenInner) ? h(Param::kGivenInner) : h(Param::kExpand) * h(Param::kWidth);
  SMELT_RETURN_IF_ERROR(
      DeriveMamba2(context, inner, "mamba_n_heads", "mamba_d_head", "mamba_n_groups"));
  SMELT_ASSIGN_OR_RETURN(const auto mlp, Multipliers(context.config, "mlp_multipliers", 2));
  h.Set(Param::kGateMultiplier, mlp[0]);
  h.Set(Param::kDownMultiplier, mlp[1]);
  SMELT_ASSIGN_OR_RETURN(const auto ssm, Multipliers(context.config, "ssm_multipliers", 5));
  const uint64_t shared = h(Param::kGroups) * h(Param::kState);
  context.sections = {{inner, ssm[0]},
                      {inner, ssm[1]},
                      {shared, ssm[2]},
                      {shared, ssm[3]},
                      {h(Param::kRank), ssm[4]}};
  if (h.flag(Param::kSsmNorm) && h.flag(Param::kNormBeforeGate)) {
    WriteOwn<bool>(context.extra, "smelt.ssm.norm_before_gate", true);
    context.differences.push_back("gates before the norm of a Mamba-2 block, not after it");
  }
  return ReadTimeStepLimit(context);
}

}  // namespace

const Family kFalconH1 = {
    .names = kFalconH1Names,
    .model_type = "falcon_h1",
    .architecture = kFalconH1Architecture,
    .hypers = kFalconH1Hypers,
    .fixed = kFalconH1Fixed,
    .keys = kFalconH1Keys,
    .tensors = kFalconH1Tensors,
    .activation_key = "",
    .layer_types = LayerTypes::kMixers,
    .derive = DeriveFalconH1,
};

}  // namespace smelt
