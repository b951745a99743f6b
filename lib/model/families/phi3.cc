// Phi-3, Phi-4: fused tensors, longrope, a part of the head may rotate. Phi-3.5-MoE: layer norms,
// biases, two experts by SparseMixer, magnitudes of longrope's own.
// Defaults: transformers models/{phi3,phimoe}/configuration_*.py.
#include "lib/base/own_keys.h"
#include "lib/base/status.h"
#include "lib/model/families/families.h"

namespace smelt {

const Architecture kPhi3Architecture = {
    .name = "phi3",
    .fused_qkv = true,
    .fused_gate_up = true,
};
const Architecture kPhiMoeArchitecture = {
    .name = "phimoe",
    .norm = NormKind::kLayer,
    .rms_epsilon_key = true,
    .gating = Experts::Gating::kSparseMixer,
};

namespace {

constexpr std::string_view kPhi3Names[] = {"Phi3ForCausalLM", "Phi3Model"};

constexpr HyperRule kPhi3Hypers[] = {
    kLayers,     kWidth,          Vocab(32064),
    Ffn(8192),   Heads(32),       KvHeads(SameAs(Param::kHeads)),
    HeadDim(),   Context(4096),   RmsEps(1e-5),
    Tied(false), Window(kAbsent),
};

constexpr std::array<KeyRule, 15> kPhi3Keys = {{
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
}};

constexpr auto kPhi3Tensors = Table<TensorRule>(
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

/// What the keys say of the rotation, and the window that is not run by llama.cpp.
absl::Status DeriveRotation(FamilyContext& context) {
  const RopeConfig& rope = context.rope.full;
  Hyper& h = context.hyper;
  h.Set(Param::kTheta, rope.theta);
  if (rope.type == RopeType::kLongRope) {
    h.Set(Param::kAttnFactor, *rope.attention_factor);
    h.Set(Param::kOriginalContext, rope.original_context);
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

absl::Status DerivePhi3(FamilyContext& context) {
  SMELT_ASSIGN_OR_RETURN(const auto original,
                         context.config.Count("original_max_position_embeddings", 1, 1u << 30));
  context.hyper.Set(Param::kOriginalContext, static_cast<double>(original.value_or(4096)));
  return DeriveRotation(context);
}

constexpr uint32_t kMixed = 2;           ///< experts of a token
constexpr float kUsualNearness = 0.02f;  ///< as readers take it without a key
constexpr std::string_view kPhi3MoeNames[] = {"PhiMoEForCausalLM", "PhimoeForCausalLM",
                                              "PhiMoEModel", "PhimoeModel"};

constexpr auto kPhi3MoeHypers = Table<HyperRule>(
    DecoderHypers({.vocab = 32064,
                   .ffn = 6400,
                   .heads = 32,
                   .kv_heads = Default(8),
                   .context = 131072,
                   .eps = RmsEps(1e-5)}),
    Window(kAbsent), Flag(Param::kAttentionBias, "attention_bias", false),
    Flag(Param::kOutputBias, "lm_head_bias", false),
    HyperRule{Param::kExperts, "num_local_experts", HyperKind::kCount, Default(16), 2, 1 << 16},
    ExpertsUsed(2),
    HyperRule{Param::kRouterJitter, "router_jitter_noise", HyperKind::kReal, Default(0.01), 0,
              1e9});

constexpr auto kPhi3MoeKeys =
    Table<KeyRule>(kPhi3Keys, KeyRule{.key = "expert_used_count", .constant = kMixed},
                   KeyRule{"expert_count", ValueType::kU32, Param::kExperts});

bool HasOutputBias(const FamilyContext& context, uint64_t) {
  return context.hyper.flag(Param::kOutputBias);
}

constexpr auto kPhi3MoeTensors = Table<TensorRule>(
    TensorRule{"token_embd.weight", "model.embed_tokens.weight", Param::kVocab, Param::kWidth},
    BiasedNorm("output_norm.weight", "model.norm.weight"),
    If(IsUntied, {"output.weight", "lm_head.weight", Param::kVocab, Param::kWidth}), kOutputOfTied,
    If(HasOutputBias, {"output.bias", "lm_head.bias", Param::kVocab}),
    BiasedNorm("blk.*.attn_norm.weight", "model.layers.*.input_layernorm.weight"),
    AttentionTensors(Param::kAttentionBias, Param::kAttentionBias),
    BiasedNorm("blk.*.ffn_norm.weight", "model.layers.*.post_attention_layernorm.weight"),
    kBlockSparseExperts);

absl::Status DerivePhi3Moe(FamilyContext& context) {
  const Hyper& h = context.hyper;
  if (h(Param::kExpertsUsed) != kMixed) {
    context.notes.push_back(Cat("num_experts_per_tok ", h(Param::kExpertsUsed),
                                " has no effect on ", kPhi3MoeNames[0], ", which takes ", kMixed,
                                " experts, here as in transformers"));
  }
  context.differences.push_back("takes its layer norms for RMS norms");
  context.differences.push_back("weighs the chosen experts by one softmax (no SparseMixer)");
  const auto nearness = static_cast<float>(2 * h.real(Param::kRouterJitter));
  if (nearness != kUsualNearness) WriteOwn<float>(context.extra, "smelt.expert_nearness", nearness);
  const RopeConfig& rope = context.rope.full;
  if (rope.long_attention_factor != rope.attention_factor) {
    WriteOwn<float>(context.extra, "smelt.rope.attn_factor_long",
                    static_cast<float>(*rope.long_attention_factor));
    context.differences.push_back("takes short_mscale for long_mscale");
  }
  if (!h.flag(Param::kAttentionBias) || !h.flag(Param::kOutputBias)) {
    context.differences.push_back(
        "cannot load a model without biases of attention and of the output");
  }
  return DeriveRotation(context);
}

}  // namespace

const Family kPhi3 = {
    .names = kPhi3Names,
    .model_type = "phi3",
    .architecture = kPhi3Architecture,
    .hypers = kPhi3Hypers,
    .fixed = {},
    .keys = kPhi3Keys,
    .tensors = kPhi3Tensors,
    .llama_cpp = "ignores a sliding window; chooses longrope's factors by its context size",
    .rope = {.original_context = 4096, .yarn_means_longrope = true},
    .partial_rotary = true,
    .windowed = IsWindowGiven,
    .layer_types = LayerTypes::kUnheeded,
    .derive = DerivePhi3,
};

const Family kPhiMoe = {
    .names = kPhi3MoeNames,
    .model_type = "phimoe",
    .architecture = kPhiMoeArchitecture,
    .hypers = kPhi3MoeHypers,
    .fixed = {},
    .keys = kPhi3MoeKeys,
    .tensors = kPhi3MoeTensors,
    .llama_cpp =
        "takes its layer norms for RMS norms; weighs the chosen experts by one softmax; "
        "ignores a sliding window; chooses longrope's factors by its context size",
    .rope = {.theta = 1000000, .magnitudes = true},
    .windowed = IsWindowGiven,
    .layer_types = LayerTypes::kUnheeded,
    .derive = DerivePhi3Moe,
};

}  // namespace smelt
