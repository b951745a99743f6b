// GPT-BigCode (StarCoder): a GPT-2 with one key and value head, or as many as queries, and weights
// stored as (outputs, inputs). Defaults: transformers
// models/gpt_bigcode/configuration_gpt_bigcode.py.
#include "lib/base/status.h"
#include "lib/model/families/families.h"
#include "lib/model/families/gpt_rows.h"

namespace smelt {

const Architecture kStarCoderArchitecture = {
    .name = "starcoder",
    .norm = NormKind::kLayer,
    .rope = RopeStyle::kNone,
    .fused_qkv = true,
    .gated = false,
    .activation = Activation::kGeluTanh,
    .learned_positions = true,
};

namespace {

constexpr std::string_view kGptBigcodeNames[] = {"GPTBigCodeForCausalLM", "GPTBigCodeLMHeadModel",
                                                 "GPTBigCodeModel"};

constexpr HyperRule kGptBigcodeHypers[] = {
    {Param::kLayers, "n_layer|num_hidden_layers", HyperKind::kCount, kRequired, 1, 1 << 16},
    {Param::kWidth, "n_embd|hidden_size"},
    Vocab(50257),
    {Param::kHeads, "n_head|num_attention_heads", HyperKind::kCount, Default(12)},
    Flag(Param::kMultiQuery, "multi_query", true),
    {Param::kContext, "n_positions|max_position_embeddings", HyperKind::kCount, Default(1024), 1,
     1 << 30},
    {Param::kFfn, "n_inner", HyperKind::kCount, kAbsent},
    {Param::kEps, "layer_norm_epsilon", HyperKind::kReal, Default(1e-5), 0, 1e3},
    Tied(true),
    Flag(Param::kScaledQueries, "scale_attn_weights", true),
};

constexpr FixedRule kGptBigcodeFixed[] = {{"add_cross_attention", "false"},
                                          {"attention_softmax_in_fp32", "true|false"},
                                          {"scale_attention_softmax_in_fp32", "true|false"}};

constexpr KeyRule kGptBigcodeKeys[] = {
    {"context_length", ValueType::kU32, Param::kContext},
    {"embedding_length", ValueType::kU32, Param::kWidth},
    {"feed_forward_length", ValueType::kU32, Param::kFfn},
    {"block_count", ValueType::kU32, Param::kLayers},
    {"attention.head_count", ValueType::kU32, Param::kHeads},
    {"attention.head_count_kv", ValueType::kU32, Param::kKvHeads},
    {"attention.layer_norm_epsilon", ValueType::kF32, Param::kEps},
    kFileTypeKey,
};

bool IsMultiQuery(const FamilyContext& context, uint64_t) {
  return context.hyper.flag(Param::kMultiQuery);
}
bool IsMultiHead(const FamilyContext& context, uint64_t layer) {
  return !IsMultiQuery(context, layer);
}

constexpr auto kGptBigcodeTensors =
    Table<TensorRule>(kGptEnds, If(IsMultiQuery, GptQkv(TensorOp::kCopy)),
                      If(IsMultiHead, GptQkv(TensorOp::kHeadMajor)), GptBlock(TensorOp::kCopy));

absl::Status DeriveGptBigcode(FamilyContext& context) {
  Hyper& h = context.hyper;
  const uint64_t kv_heads = h.flag(Param::kMultiQuery) ? 1 : h(Param::kHeads);
  h.Set(Param::kKvHeads, static_cast<double>(kv_heads));
  h.Set(Param::kKv, static_cast<double>(kv_heads * h(Param::kHeadDim)));
  h.Set(Param::kQkv, static_cast<double>((h(Param::kHeads) + 2 * kv_heads) * h(Param::kHeadDim)));
  if (!h.Has(Param::kFfn)) h.Set(Param::kFfn, 4 * h.real(Param::kWidth));
  if (!h.flag(Param::kScaledQueries)) WriteAttentionScale(context, 1);
  return absl::OkStatus();
}

}  // namespace

const Family kGptBigCode = {
    .names = kGptBigcodeNames,
    .model_type = "gpt_bigcode",
    .architecture = kStarCoderArchitecture,
    .hypers = kGptBigcodeHypers,
    .fixed = kGptBigcodeFixed,
    .keys = kGptBigcodeKeys,
    .tensors = kGptBigcodeTensors,
    .body = "transformer.",
    .checked = "drawn",
    .rotary = false,
    .activation_key = "activation_function",
    .activation = "gelu_pytorch_tanh",
    .derive = DeriveGptBigcode,
};

}  // namespace smelt
