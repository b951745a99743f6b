// InternLM3: a Llama with a switch for the biases of q, k, v and o, and one for those of the
// feed-forward part. InternLM2: q, k and v in one matrix, by key head.
// Defaults: transformers models/internlm3/configuration_internlm3.py, and the code that InternLM2's
// releases bring along (configuration_internlm2.py).
#include "lib/base/status.h"
#include "lib/model/families/families.h"

namespace smelt {

const Architecture kInternLm2Architecture = {.name = "internlm2", .rope = RopeStyle::kInterleaved};

namespace {

constexpr std::string_view kInternlmNames[] = {"InternLM3ForCausalLM", "InternLM3Model"};

constexpr auto kInternlmHypers =
    Table<HyperRule>(DecoderHypers({.vocab = 128512,
                                    .ffn = 10240,
                                    .heads = 32,
                                    .kv_heads = Default(2),
                                    .head_dim = Default(128),
                                    .context = 32768,
                                    .eps = RmsEps(1e-5)}),
                     Flag(Param::kAttentionBias, "qkv_bias|attention_bias", false),
                     Flag(Param::kMlpBias, "bias|mlp_bias", false));

constexpr auto kInternlmTensors =
    Table<TensorRule>(kEnds, kAttentionNorm,
                      AttentionTensors(Param::kAttentionBias, Param::kAttentionBias,
                                       TensorOp::kRotaryQ, TensorOp::kRotaryK),
                      kFfnNorm, GatedMlp(Param::kMlpBias));

constexpr std::string_view kNames2[] = {"InternLM2ForCausalLM", "InternLM2Model"};

constexpr auto kHypers2 = Table<HyperRule>(
    DecoderHypers(
        {.vocab = 103168, .ffn = 11008, .heads = 32, .context = 2048, .eps = RmsEps(1e-6)}),
    Flag(Param::kAttentionBias, "bias", true));

constexpr auto kKeys2 = Table<KeyRule>(kSizeKeys, kRmsEpsKey, kFileTypeKey);

constexpr std::string_view kQkv = "model.layers.*.attention.wqkv.weight";

constexpr TensorRule kTensors2[] = {
    {"token_embd.weight", "model.tok_embeddings.weight", Param::kVocab, Param::kWidth},
    {"output_norm.weight", "model.norm.weight", Param::kWidth},
    If(IsUntied, {"output.weight", "output.weight", Param::kVocab, Param::kWidth}),
    If(IsTied, {"output.weight", "model.tok_embeddings.weight", Param::kVocab, Param::kWidth}),
    {"blk.*.attn_norm.weight", "model.layers.*.attention_norm.weight", Param::kWidth},
    {"blk.*.attn_q.weight", kQkv, Param::kQkv, Param::kWidth, TensorOp::kGroupedRotaryQ,
     Param::kAttentionBias},
    {"blk.*.attn_k.weight", kQkv, Param::kQkv, Param::kWidth, TensorOp::kGroupedRotaryK,
     Param::kAttentionBias},
    {"blk.*.attn_v.weight", kQkv, Param::kQkv, Param::kWidth, TensorOp::kGroupedV,
     Param::kAttentionBias},
    {"blk.*.attn_output.weight", "model.layers.*.attention.wo.weight", Param::kWidth, Param::kQ,
     TensorOp::kCopy, Param::kAttentionBias},
    {"blk.*.ffn_norm.weight", "model.layers.*.ffn_norm.weight", Param::kWidth},
    {"blk.*.ffn_gate.weight", "model.layers.*.feed_forward.w1.weight", Param::kFfn, Param::kWidth},
    {"blk.*.ffn_up.weight", "model.layers.*.feed_forward.w3.weight", Param::kFfn, Param::kWidth},
    {"blk.*.ffn_down.weight", "model.layers.*.feed_forward.w2.weight", Param::kWidth, Param::kFfn},
};

/// The class knows heads of hidden_size / num_attention_heads only, and these ways of scaling.
absl::Status Derive2(FamilyContext& context) {
  const Hyper& h = context.hyper;
  if (h(Param::kQ) != h(Param::kWidth)) {
    return context.config.Bad(
        "head_dim", Cat("is ", h(Param::kHeadDim), ", expected hidden_size / num_attention_heads"));
  }
  const RopeType type = context.rope.full.type;
  if (type != RopeType::kDefault && type != RopeType::kLinear && type != RopeType::kDynamic) {
    return context.config.Bad(
        "rope_scaling|rope_parameters",
        "has a type that InternLM2 does not know, expected linear or dynamic");
  }
  return NoteAttentionBias(context);
}

}  // namespace

const Family kInternLm2 = {
    .names = kNames2,
    .model_type = "internlm2",
    .architecture = kInternLm2Architecture,
    .hypers = kHypers2,
    .fixed = {},
    .keys = kKeys2,
    .tensors = kTensors2,
    .head = "output.weight",
    .checked = "recorded",
    .llama_cpp = "cannot load attention biases",
    .derive = Derive2,
};

const Family kInternLm3 = {
    .names = kInternlmNames,
    .model_type = "internlm3",
    .architecture = kLlamaArchitecture,
    .hypers = kInternlmHypers,
    .fixed = {},
    .keys = kLlamaKeyRules,
    .tensors = kInternlmTensors,
    .checked = "drawn",
};

}  // namespace smelt
