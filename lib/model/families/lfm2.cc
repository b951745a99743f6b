// LFM2, LFM2-MoE: gated short convolutions with attention in some layers.
// Defaults: transformers models/{lfm2,lfm2_moe}/configuration_*.py.
#include <algorithm>

#include "lib/base/status.h"
#include "lib/model/families/families.h"

namespace smelt {

const Architecture kLfm2Architecture = {
    .name = "lfm2",
    .final_norm = "token_embd_norm",
    .qk_norm = QkNorm::kPerHead,
    .recurrence = Recurrence::kShortConvolution,
    .read_blocks = ReadHybridBlocks,
};
const Architecture kLfm2MoeArchitecture = {
    .name = "lfm2moe",
    .final_norm = "token_embd_norm",
    .qk_norm = QkNorm::kPerHead,
    .gating = Experts::Gating::kSigmoid,
    .expert_sum_epsilon = 1e-6,
    .recurrence = Recurrence::kShortConvolution,
    .read_blocks = ReadHybridBlocks,
};

namespace {

constexpr std::string_view kLfm2Names[] = {"Lfm2ForCausalLM", "LFM2ForCausalLM", "Lfm2Model"};
constexpr std::string_view kLfm2MoeNames[] = {"Lfm2MoeForCausalLM", "Lfm2MoeModel"};

// The older name counts before the class's.
constexpr HyperRule kTied{Param::kTied, "tie_embedding|tie_word_embeddings", HyperKind::kFlag,
                          Default(1)};
constexpr HyperRule kConvLength{Param::kConv, "conv_L_cache", HyperKind::kCount, Default(3), 1,
                                1 << 10};

constexpr HyperRule kLfm2Hypers[] = {
    kLayers,
    kWidth,
    Vocab(65536),
    {Param::kFfn, "block_ff_dim|intermediate_size", HyperKind::kCount, Default(12288)},
    Heads(32),
    KvHeads(Default(8)),
    HeadDim(),
    Context(128000),
    Eps("norm_eps", 1e-5),
    kTied,
    kConvLength,
    Flag(Param::kConvBias, "conv_bias", false),
    Flag(Param::kAdjustFfn, "block_auto_adjust_ff_dim", true),
    {Param::kMultipleOf, "block_multiple_of", HyperKind::kCount, Default(256)},
    {Param::kFfnMultiplier, "block_ffn_dim_multiplier", HyperKind::kReal, Default(1), 1e-3, 1e3,
     kAbsent},
};
constexpr HyperRule kLfm2MoeHypers[] = {
    kLayers,
    kWidth,
    Vocab(65536),
    Ffn(7168),
    Heads(32),
    KvHeads(Default(8)),
    HeadDim(),
    Context(128000),
    Eps("norm_eps", 1e-5),
    kTied,
    kConvLength,
    Flag(Param::kConvBias, "conv_bias", false),
    {Param::kExperts, "num_experts", HyperKind::kCount, Default(32), 1, 1 << 16},
    ExpertsUsed(4),
    {Param::kExpertFfn, "moe_intermediate_size", HyperKind::kCount, Default(1792)},
    {Param::kDenseLayers, "num_dense_layers", HyperKind::kCount, Default(2), 0},
    Flag(Param::kExpertBias, "use_expert_bias", true),
    Flag(Param::kNormTopkProb, "norm_topk_prob", true),
    Factor(Param::kExpertScale, "routed_scaling_factor", 1),
};

// What the classes have no switch for; the first ones' training and kernels.
constexpr FixedRule kLfm2Fixed[] = {
    {"hidden_act", "\"silu\"|\"swish\""}, {"block_use_swiglu", "true"}, {"use_pos_enc", "true"}};
constexpr std::string_view kWithoutEffect[] = {"block_norm_eps", "num_heads"};

constexpr std::array<KeyRule, 8> kLfm2Sizes = {{
    {"block_count", ValueType::kU32, Param::kLayers},
    {"context_length", ValueType::kU32, Param::kContext},
    {"embedding_length", ValueType::kU32, Param::kWidth},
    {"feed_forward_length", ValueType::kU32, Param::kFfn},
    {"attention.head_count", ValueType::kU32, Param::kHeads},
    kKvHeadsKey,
    kRopeKeys,
    kRmsEpsKey,
}};
constexpr std::array<KeyRule, 2> kLfm2Tail = {{
    {"vocab_size", ValueType::kU32, Param::kVocab},
    {"shortconv.l_cache", ValueType::kU32, Param::kConv},
}};
constexpr auto kLfm2Keys =
    Table<KeyRule>(kLfm2Sizes, HeadSizeKeys(Param::kGivenHeadDim), kFileTypeKey, kLfm2Tail);
constexpr auto kLfm2MoeKeys =
    Table<KeyRule>(kLfm2Sizes, kExpertKeys, kFileTypeKey,
                   KeyRule{"expert_feed_forward_length", ValueType::kU32, Param::kExpertFfn},
                   KeyRule{"leading_dense_block_count", ValueType::kU32, Param::kDenseLayers},
                   KeyRule{"expert_gating_func", ValueType::kU32, Param::kNone, 2}, kLfm2Tail);

constexpr std::array<TensorRule, 12> kMixers = {{
    {"token_embd.weight", "model.embed_tokens.weight", Param::kVocab, Param::kWidth},
    {"token_embd_norm.weight", "model.embedding_norm.weight", Param::kWidth},
    If(IsUntied, {"output.weight", "lm_head.weight", Param::kVocab, Param::kWidth}),
    {"blk.*.attn_norm.weight", "model.layers.*.operator_norm.weight", Param::kWidth},
    If(HasNoAttention, {"blk.*.shortconv.conv.weight", "model.layers.*.conv.conv.weight",
                        Param::kWidth, Param::kConv, TensorOp::kConv, Param::kConvBias}),
    If(HasNoAttention, {"blk.*.shortconv.in_proj.weight", "model.layers.*.conv.in_proj.weight",
                        Param::kThreeWidth, Param::kWidth, TensorOp::kCopy, Param::kConvBias}),
    If(HasNoAttention, {"blk.*.shortconv.out_proj.weight", "model.layers.*.conv.out_proj.weight",
                        Param::kWidth, Param::kWidth, TensorOp::kCopy, Param::kConvBias}),
    If(HasAttention,
       {"blk.*.attn_q.weight", "model.layers.*.self_attn.q_proj.weight", Param::kQ, Param::kWidth}),
    If(HasAttention, {"blk.*.attn_k.weight", "model.layers.*.self_attn.k_proj.weight", Param::kKv,
                      Param::kWidth}),
    If(HasAttention, {"blk.*.attn_v.weight", "model.layers.*.self_attn.v_proj.weight", Param::kKv,
                      Param::kWidth}),
    If(HasAttention,
       {"blk.*.attn_output.weight",
        "model.layers.*.self_attn.out_proj.weight|model.layers.*.self_attn.o_proj.weight",
        Param::kWidth, Param::kQ}),
    {"blk.*.ffn_norm.weight", "model.layers.*.ffn_norm.weight", Param::kWidth},
}};
constexpr auto kHeadNormsOfLfm2 =
    Where(HasAttention,
          std::array<TensorRule, 2>{{
              {"blk.*.attn_q_norm.weight",
               "model.layers.*.self_attn.q_layernorm.weight|model.layers.*.self_attn.q_norm.weight",
               Param::kHeadDim},
              {"blk.*.attn_k_norm.weight",
               "model.layers.*.self_attn.k_layernorm.weight|model.layers.*.self_attn.k_norm.weight",
               Param::kHeadDim},
          }});
constexpr auto kMlp =
    Where(IsDense, std::array<TensorRule, 3>{{
                       {"blk.*.ffn_gate.weight", "model.layers.*.feed_forward.w1.weight",
                        Param::kFfn, Param::kWidth},
                       {"blk.*.ffn_up.weight", "model.layers.*.feed_forward.w3.weight", Param::kFfn,
                        Param::kWidth},
                       {"blk.*.ffn_down.weight", "model.layers.*.feed_forward.w2.weight",
                        Param::kWidth, Param::kFfn},
                   }});

bool HasExpertBias(const FamilyContext& context, uint64_t layer) {
  return IsSparse(context, layer) && context.hyper.flag(Param::kExpertBias);
}
constexpr std::string_view kFused = "model.layers.*.feed_forward.experts.gate_up_proj";
constexpr std::array<TensorRule, 5> kLfm2Experts = {{
    If(IsSparse, {"blk.*.ffn_gate_inp.weight", "model.layers.*.feed_forward.gate.weight",
                  Param::kExperts, Param::kWidth}),
    If(HasExpertBias,
       {"blk.*.exp_probs_b.bias", "model.layers.*.feed_forward.expert_bias", Param::kExperts}),
    If(IsSparse,
       OrFused({"blk.*.ffn_gate_exps.weight", "model.layers.*.feed_forward.experts.#.w1.weight",
                Param::kExpertFfn, Param::kWidth, TensorOp::kExperts},
               kFused, TensorOp::kFusedExpertsFirst)),
    If(IsSparse,
       OrFused({"blk.*.ffn_up_exps.weight", "model.layers.*.feed_forward.experts.#.w3.weight",
                Param::kExpertFfn, Param::kWidth, TensorOp::kExperts},
               kFused, TensorOp::kFusedExpertsSecond)),
    If(IsSparse,
       OrFused({"blk.*.ffn_down_exps.weight", "model.layers.*.feed_forward.experts.#.w2.weight",
                Param::kWidth, Param::kExpertFfn, TensorOp::kExperts},
               "model.layers.*.feed_forward.experts.down_proj", TensorOp::kStackedExperts)),
}};
constexpr auto kLfm2Tensors = Table<TensorRule>(kMixers, kHeadNormsOfLfm2, kMlp);
constexpr auto kLfm2MoeTensors = Table<TensorRule>(kMixers, kHeadNormsOfLfm2, kMlp, kLfm2Experts);

/// `layer_types`, or the numbers of the layers that have attention; all where neither is there.
absl::Status ReadLfm2Mixers(FamilyContext& context) {
  Hyper& h = context.hyper;
  const int32_t kv_heads = static_cast<int32_t>(h(Param::kKvHeads));
  constexpr LayerKind kKinds[] = {{"conv", 0}, {"full_attention", 1}, {"attention", 1}};
  SMELT_ASSIGN_OR_RETURN(const std::vector<int> kinds,
                         ReadLayerKinds(context, "layer_types", kKinds));
  for (int kind : kinds) context.kv_heads.push_back(kind == 1 ? kv_heads : 0);
  SMELT_ASSIGN_OR_RETURN(const std::vector<double> full, context.config.Reals("full_attn_idxs"));
  if (kinds.empty()) {
    const bool all = !context.config.Has("full_attn_idxs");
    for (uint64_t i = 0; i < h(Param::kLayers); ++i) {
      const bool listed = std::ranges::find(full, static_cast<double>(i)) != full.end();
      context.kv_heads.push_back(all || listed ? kv_heads : 0);
    }
  }
  h.Set(Param::kThreeWidth, 3.0 * h.real(Param::kWidth));
  if (h.flag(Param::kConvBias)) context.differences.push_back("cannot load biases of convolutions");
  return absl::OkStatus();
}

absl::Status DeriveLfm2(FamilyContext& context) {
  Hyper& h = context.hyper;
  if (h.flag(Param::kAdjustFfn)) {
    uint64_t ffn = 2 * h(Param::kFfn) / 3;
    if (h.Has(Param::kFfnMultiplier)) {
      const uint64_t multiple = h(Param::kMultipleOf);
      ffn = static_cast<uint64_t>(h.real(Param::kFfnMultiplier) * static_cast<double>(ffn));
      ffn = (ffn + multiple - 1) / multiple * multiple;
    }
    if (ffn == 0)
      return context.config.Bad("block_ff_dim|intermediate_size", "leaves no feed-forward part");
    h.Set(Param::kFfn, static_cast<double>(ffn));
  }
  context.sparse.assign(std::min<uint64_t>(h(Param::kLayers), 1 << 16), false);
  return ReadLfm2Mixers(context);
}

absl::Status DeriveLfm2Moe(FamilyContext& context) {
  Hyper& h = context.hyper;
  const uint64_t dense = h(Param::kDenseLayers);
  for (uint64_t i = 0; i < h(Param::kLayers); ++i) context.sparse.push_back(i >= dense);
  WriteExpertNormalization(context);
  if (h.real(Param::kExpertScale) != 1) {
    context.extra.Set("lfm2moe.expert_weights_scale",
                      static_cast<float>(h.real(Param::kExpertScale)));
    context.differences.push_back("does not scale the sum of the chosen experts");
  }
  if (!h.flag(Param::kExpertBias))
    context.differences.push_back("cannot load experts without a selection bias");
  return ReadLfm2Mixers(context);
}

}  // namespace

const Family kLfm2 = {
    .names = kLfm2Names,
    .model_type = "lfm2",
    .architecture = kLfm2Architecture,
    .hypers = kLfm2Hypers,
    .fixed = kLfm2Fixed,
    .keys = kLfm2Keys,
    .tensors = kLfm2Tensors,
    .without_effect = kWithoutEffect,
    .rope = {.theta = 1000000},
    .activation_key = "",
    .layer_types = LayerTypes::kMixers,
    .derive = DeriveLfm2,
};

const Family kLfm2Moe = {
    .names = kLfm2MoeNames,
    .model_type = "lfm2_moe",
    .architecture = kLfm2MoeArchitecture,
    .hypers = kLfm2MoeHypers,
    .fixed = kLfm2Fixed,
    .keys = kLfm2MoeKeys,
    .tensors = kLfm2MoeTensors,
    .rope = {.theta = 1000000},
    .activation_key = "",
    .layer_types = LayerTypes::kMixers,
    .derive = DeriveLfm2Moe,
};

}  // namespace smelt
