// Qwen3-Next, Qwen3.5 and Qwen3.6, dense and with experts: gated delta nets among layers of gated
// attention. Of the models with images the text part.
// Defaults: transformers models/{qwen3_5,qwen3_5_moe,qwen3_next}/configuration_*.py.
#include "lib/base/status.h"
#include "lib/model/families/families.h"
#include "lib/model/ssm_reader.h"

namespace smelt {
namespace {

absl::Status ReadDeltaBlocks(SpecReader& reader, const Architecture& architecture,
                             ModelSpec& spec) {
  SMELT_ASSIGN_OR_RETURN(BlockReader blocks, BlockReader::Create(reader, architecture, spec));
  SMELT_RETURN_IF_ERROR(blocks.PrepareAttention());
  SMELT_ASSIGN_OR_RETURN(SsmReader ssm, SsmReader::Create(reader, blocks, true));
  SMELT_ASSIGN_OR_RETURN(const std::vector<bool> recurrent, blocks.ReadRecurrentLayers());
  for (uint64_t i = 0; i < blocks.layers(); ++i) {
    LayerSpec layer;
    SMELT_ASSIGN_OR_RETURN(layer.mixer_norm,
                           blocks.ReadNorm(i, architecture.mixer_norm, blocks.width()));
    if (recurrent[i]) {
      SMELT_ASSIGN_OR_RETURN(layer.mixer,
                             ssm.ReadDeltaNet(i, architecture.alternating_value_heads));
    } else {
      SMELT_ASSIGN_OR_RETURN(layer.mixer, blocks.ReadAttention(i));
    }
    SMELT_ASSIGN_OR_RETURN(layer.ffn_norm,
                           blocks.ReadNorm(i, architecture.ffn_norm, blocks.width()));
    SMELT_RETURN_IF_ERROR(blocks.ReadFfn(i, layer));
    spec.layers.push_back(std::move(layer));
  }
  return absl::OkStatus();
}

constexpr Architecture DeltaArchitecture(std::string_view name, bool alternating) {
  return {.name = name,
          .ffn_norm = "post_attention_norm",
          .qk_norm = QkNorm::kPerHead,
          .gated_attention = true,
          .alternating_value_heads = alternating,
          .read_blocks = ReadDeltaBlocks};
}

}  // namespace

const Architecture kQwen35Architecture = DeltaArchitecture("qwen35", true);
const Architecture kQwen35MoeArchitecture = DeltaArchitecture("qwen35moe", true);
const Architecture kQwen3NextArchitecture = DeltaArchitecture("qwen3next", false);

namespace {

constexpr std::string_view kDenseNames[] = {"Qwen3_5ForConditionalGeneration", "Qwen3_5Model"};
constexpr std::string_view kDenseTextNames[] = {"Qwen3_5ForCausalLM", "Qwen3_5TextModel"};
constexpr std::string_view kQwen35MoeNames[] = {"Qwen3_5MoeForConditionalGeneration",
                                                "Qwen3_5MoeModel"};
constexpr std::string_view kMoeTextNames[] = {"Qwen3_5MoeForCausalLM", "Qwen3_5MoeTextModel"};
constexpr std::string_view kNextNames[] = {"Qwen3NextForCausalLM", "Qwen3NextModel"};
constexpr std::string_view kQwen35OfWhole[] = {"tie_word_embeddings"};

constexpr HyperRule Count(Param param, std::string_view config, double n) {
  return {param, config, HyperKind::kCount, Default(n), 1, 1 << 16};
}

// Of the linear layers; key and value heads have sizes of their own.
constexpr std::array<HyperRule, 8> kDeltaHypers = {{
    Count(Param::kConv, "linear_conv_kernel_dim", 4),
    Count(Param::kKeySize, "linear_key_head_dim", 128),
    Count(Param::kValueSize, "linear_value_head_dim", 128),
    Count(Param::kKeyHeads, "linear_num_key_heads", 16),
    Count(Param::kValueHeads, "linear_num_value_heads", 32),
    Count(Param::kFullInterval, "full_attention_interval", 4),
    Flag(Param::kAttentionBias, "attention_bias", false),
    {Param::kGivenDraft, "mtp_num_hidden_layers|num_nextn_predict_layers", HyperKind::kCount,
     kAbsent, 0, 1 << 10},
}};
constexpr std::array<HyperRule, 4> MoeHypers(double experts, double used) {
  return {
      {{Param::kExperts, "num_experts|num_local_experts", HyperKind::kCount, Default(experts), 1,
        1 << 16},
       ExpertsUsed(used),
       {Param::kExpertFfn, "moe_intermediate_size", HyperKind::kCount, Default(512)},
       {Param::kSharedFfn, "shared_expert_intermediate_size", HyperKind::kCount, Default(512)}}};
}

constexpr auto kDenseHypers = Table<HyperRule>(DecoderHypers({.vocab = 248320,
                                                              .ffn = 12288,
                                                              .heads = 16,
                                                              .kv_heads = Default(4),
                                                              .head_dim = Default(256),
                                                              .context = 32768}),
                                               kDeltaHypers);
constexpr auto kQwen35MoeHypers = Table<HyperRule>(
    kLayers, kWidth, Vocab(248320), Heads(16), KvHeads(Default(2)), HeadDim(Default(256)),
    Context(32768), RmsEps(1e-6), Tied(false), kDeltaHypers, MoeHypers(256, 8));
constexpr auto kNextHypers = Table<HyperRule>(DecoderHypers({.vocab = 151936,
                                                             .ffn = 5632,
                                                             .heads = 16,
                                                             .kv_heads = Default(2),
                                                             .head_dim = Default(256),
                                                             .context = 32768}),
                                              kDeltaHypers, MoeHypers(512, 10),
                                              Flag(Param::kNormTopkProb, "norm_topk_prob", true));

// Of the linear layers' convolution too.
constexpr FixedRule kQwen35Fixed[] = {{"attn_output_gate", "true"},
                                      {"hidden_act", "\"silu\"|\"swish\""},
                                      {"mtp_use_dedicated_embeddings", "false|null"},
                                      {"mlp_only_layers", "[]|null"},
                                      {"decoder_sparse_step", "1"}};
constexpr std::span<const FixedRule> kNextFixed = std::span(kQwen35Fixed).first<3>();

constexpr std::array<KeyRule, 9> kDeltaKeys = {{
    kDraftKey,
    {"ssm.conv_kernel", ValueType::kU32, Param::kConv},
    {"ssm.state_size", ValueType::kU32, Param::kKeySize},
    {"ssm.group_count", ValueType::kU32, Param::kKeyHeads},
    {"ssm.time_step_rank", ValueType::kU32, Param::kValueHeads},
    {"ssm.inner_size", ValueType::kU32, Param::kInner},
    kRecurrentKey,
    {"full_attention_interval", ValueType::kU32, Param::kFullInterval},
    {"rope.dimension_count", ValueType::kU32, Param::kRopeDims},
}};
constexpr auto kQwen35Keys = Table<KeyRule>(
    kSizeKeys, kRmsEpsKey, kExpertKeys, HeadSizeKeys(Param::kHeadDim), kFileTypeKey,
    KeyRule{"expert_feed_forward_length", ValueType::kU32, Param::kExpertFfn},
    KeyRule{"expert_shared_feed_forward_length", ValueType::kU32, Param::kSharedFfn}, kDeltaKeys);

bool IsRecurrent(const FamilyContext& context, uint64_t layer) { return context.recurrent[layer]; }
bool IsAttending(const FamilyContext& context, uint64_t layer) { return !context.recurrent[layer]; }

constexpr TensorRule AddedOne(std::string_view target, std::string_view source,
                              Param rows = Param::kWidth) {
  return {target, source, rows, Param::kNone, TensorOp::kAddOne};
}

constexpr std::array<TensorRule, 5> kEndsAndNorms = {{
    {"token_embd.weight", "model.embed_tokens.weight", Param::kVocab, Param::kWidth},
    If(IsUntied, {"output.weight", "lm_head.weight", Param::kVocab, Param::kWidth}),
    AddedOne("output_norm.weight", "model.norm.weight"),
    AddedOne("blk.*.attn_norm.weight", "model.layers.*.input_layernorm.weight"),
    AddedOne("blk.*.post_attention_norm.weight", "model.layers.*.post_attention_layernorm.weight"),
}};
constexpr std::array<TensorRule, 6> kQwen35Attention = {{
    If(IsAttending, {"blk.*.attn_q.weight", "model.layers.*.self_attn.q_proj.weight",
                     Param::kGatedQ, Param::kWidth, TensorOp::kCopy, Param::kAttentionBias}),
    If(IsAttending, {"blk.*.attn_k.weight", "model.layers.*.self_attn.k_proj.weight", Param::kKv,
                     Param::kWidth, TensorOp::kCopy, Param::kAttentionBias}),
    If(IsAttending, {"blk.*.attn_v.weight", "model.layers.*.self_attn.v_proj.weight", Param::kKv,
                     Param::kWidth, TensorOp::kCopy, Param::kAttentionBias}),
    If(IsAttending, {"blk.*.attn_output.weight", "model.layers.*.self_attn.o_proj.weight",
                     Param::kWidth, Param::kQ, TensorOp::kCopy, Param::kAttentionBias}),
    If(IsAttending, AddedOne("blk.*.attn_q_norm.weight", "model.layers.*.self_attn.q_norm.weight",
                             Param::kHeadDim)),
    If(IsAttending, AddedOne("blk.*.attn_k_norm.weight", "model.layers.*.self_attn.k_norm.weight",
                             Param::kHeadDim)),
}};

// Qwen3.5: the value heads go by turns. Their norm is no sum with 1.
constexpr std::array<TensorRule, 9> kDelta = {{
    If(IsRecurrent, {"blk.*.attn_qkv.weight", "model.layers.*.linear_attn.in_proj_qkv.weight",
                     Param::kChannels, Param::kWidth, TensorOp::kLastValueHeads}),
    If(IsRecurrent, {"blk.*.attn_gate.weight", "model.layers.*.linear_attn.in_proj_z.weight",
                     Param::kInner, Param::kWidth, TensorOp::kValueHeads}),
    If(IsRecurrent, {"blk.*.ssm_beta.weight", "model.layers.*.linear_attn.in_proj_b.weight",
                     Param::kValueHeads, Param::kWidth, TensorOp::kValueHeads}),
    If(IsRecurrent, {"blk.*.ssm_alpha.weight", "model.layers.*.linear_attn.in_proj_a.weight",
                     Param::kValueHeads, Param::kWidth, TensorOp::kValueHeads}),
    If(IsRecurrent, {"blk.*.ssm_conv1d.weight", "model.layers.*.linear_attn.conv1d.weight",
                     Param::kChannels, Param::kConv, TensorOp::kConvLastValueHeads}),
    If(IsRecurrent, {"blk.*.ssm_a", "model.layers.*.linear_attn.A_log", Param::kValueHeads,
                     Param::kNone, TensorOp::kValueHeadsNegativeExp}),
    If(IsRecurrent, {"blk.*.ssm_dt.bias", "model.layers.*.linear_attn.dt_bias", Param::kValueHeads,
                     Param::kNone, TensorOp::kValueHeads}),
    If(IsRecurrent,
       {"blk.*.ssm_norm.weight", "model.layers.*.linear_attn.norm.weight", Param::kValueSize}),
    If(IsRecurrent, {"blk.*.ssm_out.weight", "model.layers.*.linear_attn.out_proj.weight",
                     Param::kWidth, Param::kInner, TensorOp::kValueHeadColumns}),
}};
// Qwen3-Next: rows by key head.
constexpr std::array<TensorRule, 8> kFoldedDelta = {{
    If(IsRecurrent, {"blk.*.attn_qkv.weight", "model.layers.*.linear_attn.in_proj_qkvz.weight",
                     Param::kChannels, Param::kWidth, TensorOp::kUnfoldQkv}),
    If(IsRecurrent, {"blk.*.attn_gate.weight", "model.layers.*.linear_attn.in_proj_qkvz.weight",
                     Param::kInner, Param::kWidth, TensorOp::kUnfoldGate}),
    If(IsRecurrent, {"blk.*.ssm_ba.weight", "model.layers.*.linear_attn.in_proj_ba.weight",
                     Param::kTwoRank, Param::kWidth}),
    If(IsRecurrent, {"blk.*.ssm_conv1d.weight", "model.layers.*.linear_attn.conv1d.weight",
                     Param::kChannels, Param::kConv, TensorOp::kConv}),
    If(IsRecurrent, {"blk.*.ssm_a", "model.layers.*.linear_attn.A_log", Param::kValueHeads,
                     Param::kNone, TensorOp::kNegativeExp}),
    If(IsRecurrent,
       {"blk.*.ssm_dt.bias", "model.layers.*.linear_attn.dt_bias", Param::kValueHeads}),
    If(IsRecurrent,
       {"blk.*.ssm_norm.weight", "model.layers.*.linear_attn.norm.weight", Param::kValueSize}),
    If(IsRecurrent, {"blk.*.ssm_out.weight", "model.layers.*.linear_attn.out_proj.weight",
                     Param::kWidth, Param::kInner}),
}};
constexpr auto kQwen35Experts = Table<TensorRule>(ExpertTensors(Param::kExpertFfn), kSharedExpert);

constexpr auto kDenseTensors =
    Table<TensorRule>(kEndsAndNorms, kQwen35Attention, kDelta, GatedMlp());
constexpr auto kQwen35MoeTensors =
    Table<TensorRule>(kEndsAndNorms, kQwen35Attention, kDelta, kQwen35Experts);
constexpr auto kNextTensors = Table<TensorRule>(kEndsAndNorms, kQwen35Attention, kFoldedDelta,
                                                GatedMlp(Param::kNone, IsDense), kQwen35Experts);

constexpr std::array<TensorRule, 4> kQwen35DraftTensors = {{
    {"blk.*.nextn.eh_proj.weight", "mtp.fc.weight", Param::kWidth, Param::kTwoWidth},
    AddedOne("blk.*.nextn.enorm.weight", "mtp.pre_fc_norm_embedding.weight"),
    AddedOne("blk.*.nextn.hnorm.weight", "mtp.pre_fc_norm_hidden.weight"),
    AddedOne("blk.*.nextn.shared_head_norm.weight", "mtp.norm.weight"),
}};
constexpr DraftHead kQwen35Draft = {.prefix = "mtp.",
                                    .mark = "mtp.layers.*.input_layernorm.weight",
                                    .tensors = kQwen35DraftTensors};

/// Which layers are linear: as `layer_types` says, else all but every so manieth.
absl::Status ReadRecurrentLayers(FamilyContext& context) {
  const uint64_t layers = context.hyper(Param::kLayers),
                 interval = context.hyper(Param::kFullInterval);
  SMELT_ASSIGN_OR_RETURN(const std::vector<std::string> types, context.config.Texts("layer_types"));
  if (!types.empty() && types.size() != layers) {
    return context.config.Bad(
        "layer_types",
        Cat("has ", types.size(), " entries, expected one for each of ", layers, " layers"));
  }
  for (uint64_t i = 0; i < std::min<uint64_t>(layers, 1 << 16); ++i) {
    if (types.empty()) {
      context.recurrent.push_back((i + 1) % interval != 0);
    } else if (types[i] == "linear_attention" || types[i] == "full_attention") {
      context.recurrent.push_back(types[i] == "linear_attention");
    } else {
      return context.config.Bad("layer_types", Cat("has ", Escape(types[i]),
                                                   ", expected linear_attention or "
                                                   "full_attention"));
    }
  }
  return absl::OkStatus();
}

absl::Status DeriveDelta(FamilyContext& context) {
  SMELT_RETURN_IF_ERROR(ReadRecurrentLayers(context));
  Hyper& h = context.hyper;
  const uint64_t key_heads = h(Param::kKeyHeads), heads = h(Param::kValueHeads);
  if (heads % key_heads != 0) {
    return context.config.Bad(
        "linear_num_value_heads",
        Cat("is ", heads, ", which is no multiple of the ", key_heads, " key heads"));
  }
  const uint64_t keys = key_heads * h(Param::kKeySize), values = heads * h(Param::kValueSize);
  const auto set = [&h](Param param, uint64_t value) { h.Set(param, static_cast<double>(value)); };
  set(Param::kInner, values);
  set(Param::kChannels, 2 * keys + values);
  set(Param::kInRows, 2 * keys + 2 * values);
  set(Param::kTwoRank, 2 * heads);
  set(Param::kTwoWidth, 2 * h(Param::kWidth));
  set(Param::kGatedQ, 2 * h(Param::kQ));
  if (h(Param::kKeySize) != h(Param::kValueSize))
    context.differences.push_back("cannot load value heads of another size than the key heads'");
  return NoteAttentionBias(context);
}

absl::Status DeriveNext(FamilyContext& context) {
  WriteExpertNormalization(context);
  SMELT_RETURN_IF_ERROR(ReadSparseLayers(context));
  return DeriveDelta(context);
}

constexpr RopeDefaults kQwen35Rope = {
    .partial = 0.25, .sections = {11, 11, 10}, .interleaved = true};

Family DeltaFamily(std::span<const std::string_view> names, std::string_view model_type, bool moe,
                   bool whole) {
  return {
      .names = names,
      .model_type = model_type,
      .architecture = moe ? kQwen35MoeArchitecture : kQwen35Architecture,
      .hypers = moe ? std::span<const HyperRule>(kQwen35MoeHypers) : kDenseHypers,
      .fixed = kQwen35Fixed,
      .keys = kQwen35Keys,
      .tensors = moe ? std::span<const TensorRule>(kQwen35MoeTensors) : kDenseTensors,
      .part = whole ? "text_config" : "",
      .of_whole = whole ? std::span<const std::string_view>(kQwen35OfWhole)
                        : std::span<const std::string_view>(),
      .checked = !whole ? "drawn"
                 : moe  ? "recorded"
                        : "recorded, drawn",
      .rope = kQwen35Rope,
      .partial_rotary = true,
      .layer_types = LayerTypes::kMixers,
      .draft = kQwen35Draft,
      .derive = DeriveDelta,
  };
}

}  // namespace

const Family kQwen35 = DeltaFamily(kDenseNames, "qwen3_5", false, true);
const Family kQwen35Text = DeltaFamily(kDenseTextNames, "qwen3_5_text", false, false);
const Family kQwen35Moe = DeltaFamily(kQwen35MoeNames, "qwen3_5_moe", true, true);
const Family kQwen35MoeText = DeltaFamily(kMoeTextNames, "qwen3_5_moe_text", true, false);

const Family kQwen3Next = {
    .names = kNextNames,
    .model_type = "qwen3_next",
    .architecture = kQwen3NextArchitecture,
    .hypers = kNextHypers,
    .fixed = kNextFixed,
    .keys = kQwen35Keys,
    .tensors = kNextTensors,
    .rope = {.partial = 0.25},
    .partial_rotary = true,
    .layer_types = LayerTypes::kMixers,
    .draft = kQwen35Draft,
    .derive = DeriveNext,
};

}  // namespace smelt
