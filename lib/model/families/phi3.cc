// Phi-3, Phi-4: fused tensors, longrope, a part of the head may rotate.
// Defaults: transformers models/phi3/configuration_phi3.py.
#include "lib/base/status.h"
#include "lib/model/families/families.h"

namespace smelt {

const Architecture kPhi3Architecture = {
    .name = "phi3",
    .fused_qkv = true,
    .fused_gate_up = true,
};

namespace {

constexpr std::string_view kNames[] = {"Phi3ForCausalLM", "Phi3Model"};

constexpr HyperRule kHypers[] = {
    kLayers,     kWidth,          Vocab(32064),
    Ffn(8192),   Heads(32),       KvHeads(SameAs(Param::kHeads)),
    HeadDim(),   Context(4096),   RmsEps(1e-5),
    Tied(false), Window(kAbsent),
};

constexpr KeyRule kKeys[] = {
    {"rope.scaling.attn_factor", ValueType::kF32, Param::kAttnFactor},
    {"context_length", ValueType::kU32, Param::kContext},
    {"rope.scaling.original_context_length", ValueType::kU32, Param::kOriginalContext},
    {"embedding_length", ValueType::kU32, Param::kWidth},
    {"feed_forward_length", ValueType::kU32, Param::kFfn},
    {"block_count", ValueType::kU32, Param::kLayers},
    {"attention.head_count", ValueType::kU32, Param::kHeads},
    {"attention.head_count_kv", ValueType::kU32, Param::kKvHeads},
    {"attention.layer_norm_rms_epsilon", ValueType::kF32, Param::kEps},
    {"rope.dimension_count", ValueType::kU32, Param::kRopeDims},
    {"rope.freq_base", ValueType::kF32, Param::kTheta},
    kFileTypeKey,
    {"attention.sliding_window", ValueType::kU32, Param::kWindowOrZero},
    {"attention.key_length", ValueType::kU32, Param::kGivenHeadDim},
    {"attention.value_length", ValueType::kU32, Param::kGivenHeadDim},
};

constexpr auto kTensors = Table<TensorRule>(
    kEnds, kAttentionNorm,
    TensorRule{"blk.*.attn_qkv.weight", "model.layers.*.self_attn.qkv_proj.weight", Param::kQkv,
               Param::kWidth},
    TensorRule{"blk.*.attn_output.weight", "model.layers.*.self_attn.o_proj.weight", Param::kWidth,
               Param::kQ},
    kFfnNorm,
    TensorRule{"blk.*.ffn_up.weight", "model.layers.*.mlp.gate_up_proj.weight", Param::kTwoFfn,
               Param::kWidth},
    TensorRule{"blk.*.ffn_down.weight", "model.layers.*.mlp.down_proj.weight", Param::kWidth,
               Param::kFfn});

absl::Status Derive(FamilyContext& context) {
  const RopeConfig& rope = context.rope.full;
  Hyper& h = context.hyper;
  h.Set(Param::kTheta, rope.theta);
  SMELT_ASSIGN_OR_RETURN(const auto original,
                         context.config.Count("original_max_position_embeddings", 1, 1u << 30));
  h.Set(Param::kOriginalContext, static_cast<double>(original.value_or(4096)));
  if (rope.type == RopeType::kLongRope) {
    h.Set(Param::kAttnFactor, *rope.attention_factor);
    SMELT_RETURN_IF_ERROR(AddLongRopeFactors(context));
  } else if (rope.type != RopeType::kDefault) {
    return context.config.Bad("rope_scaling|rope_parameters",
                              "has a type other than longrope, which Phi-3 does not know");
  }
  const uint64_t window = h(Param::kWindow);
  h.Set(Param::kWindowOrZero, h.real(Param::kWindow));
  if (window != 0 && window < h(Param::kContext)) {
    context.differences.push_back(Cat("switches the sliding window of ", window, " positions off"));
  }
  return absl::OkStatus();
}

}  // namespace

const Family kPhi3 = {
    .names = kNames,
    .model_type = "phi3",
    .architecture = kPhi3Architecture,
    .hypers = kHypers,
    .fixed = {},
    .keys = kKeys,
    .tensors = kTensors,
    .llama_cpp = "ignores a sliding window; chooses longrope's factors by its context size",
    .rope = {.original_context = 4096, .yarn_means_longrope = true},
    .partial_rotary = true,
    .windowed = IsWindowGiven,
    .layer_types = LayerTypes::kUnheeded,
    .derive = Derive,
};

}  // namespace smelt
