// StableLM 2 and 3B: layer norms, a quarter of each head rotates.
// Defaults: transformers models/stablelm/configuration_stablelm.py.
#include "lib/base/status.h"
#include "lib/model/families/families.h"

namespace smelt {

const Architecture kStableLmArchitecture = {
    .name = "stablelm",
    .norm = NormKind::kLayer,
    .qk_norm = QkNorm::kEachHead,
    .qk_norm_optional = true,
    .shares_norm = true,
};

namespace {

constexpr std::string_view kStablelmNames[] = {"StableLmForCausalLM", "StableLMEpochForCausalLM",
                                               "StableLmModel"};

constexpr auto kStablelmHypers = Table<HyperRule>(
    DecoderHypers({.vocab = 50304,
                   .ffn = 6912,
                   .heads = 32,
                   .kv_heads = Default(32),
                   .context = 4096,
                   .eps = Eps("layer_norm_eps|norm_eps", 1e-5)}),
    Flag(Param::kBias, "use_qkv_bias", false), Flag(Param::kQkNorm, "qk_layernorm", false),
    Flag(Param::kParallel, "use_parallel_residual", false));

constexpr KeyRule kStablelmKeys[] = {
    {"context_length", ValueType::kU32, Param::kContext},
    {"embedding_length", ValueType::kU32, Param::kWidth},
    {"block_count", ValueType::kU32, Param::kLayers},
    {"feed_forward_length", ValueType::kU32, Param::kFfn},
    {"rope.dimension_count", ValueType::kU32, Param::kRopeDims},
    {"attention.head_count", ValueType::kU32, Param::kHeads},
    {"attention.head_count_kv", ValueType::kU32, Param::kKvHeads},
    {"use_parallel_residual", ValueType::kBool, Param::kParallel},
    {"attention.layer_norm_epsilon", ValueType::kF32, Param::kEps},
    kFileTypeKey,
    kRopeKeys,
};

bool HasStablelmQkNorms(const FamilyContext& context, uint64_t) {
  return context.hyper.flag(Param::kQkNorm);
}
bool HasTwoNorms(const FamilyContext& context, uint64_t) {
  return !context.hyper.flag(Param::kParallel);
}

constexpr auto kStablelmTensors = Table<TensorRule>(
    TensorRule{"token_embd.weight", "model.embed_tokens.weight", Param::kVocab, Param::kWidth},
    BiasedNorm("output_norm.weight", "model.norm.weight"),
    If(IsUntied, {"output.weight", "lm_head.weight", Param::kVocab, Param::kWidth}), kOutputOfTied,
    BiasedNorm("blk.*.attn_norm.weight", "model.layers.*.input_layernorm.weight"),
    AttentionTensors(Param::kBias, Param::kNone),
    If(HasStablelmQkNorms,
       {"blk.*.attn_q_norm.weight", "model.layers.*.self_attn.q_layernorm.norms.#.weight",
        Param::kHeads, Param::kHeadDim, TensorOp::kHeadVectors}),
    If(HasStablelmQkNorms,
       {"blk.*.attn_k_norm.weight", "model.layers.*.self_attn.k_layernorm.norms.#.weight",
        Param::kKvHeads, Param::kHeadDim, TensorOp::kHeadVectors}),
    If(HasTwoNorms,
       BiasedNorm("blk.*.ffn_norm.weight", "model.layers.*.post_attention_layernorm.weight")),
    GatedMlp());

absl::Status DeriveStablelm(FamilyContext& context) {
  NoteTheta(context);
  return absl::OkStatus();
}

}  // namespace

const Family kStableLm = {
    .names = kStablelmNames,
    .model_type = "stablelm|stablelm_epoch",
    .architecture = kStableLmArchitecture,
    .hypers = kStablelmHypers,
    .fixed = {},
    .keys = kStablelmKeys,
    .tensors = kStablelmTensors,
    .llama_cpp = "takes 10000 for rope_theta",
    .rope = {.partial = 0.25, .partial_key = "partial_rotary_factor|rope_pct"},
    .partial_rotary = true,
    .derive = DeriveStablelm,
};

}  // namespace smelt
