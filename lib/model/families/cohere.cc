// Command-R and Command-R7B: layer norms without bias, both halves of a block behind one norm.
// Defaults: transformers models/{cohere,cohere2}/configuration_*.py.
#include "lib/base/status.h"
#include "lib/model/families/families.h"

namespace smelt {

const Architecture kCommandRArchitecture = {
    .name = "command-r",
    .norm = NormKind::kLayer,
    .ffn_norm = "",
    .qk_norm = QkNorm::kEachHead,
    .qk_norm_optional = true,
    .rope = RopeStyle::kInterleaved,
    .logit_scale = LogitScale::kMultiplies,
    .parallel_residual = true,
};
const Architecture kCohere2Architecture = {
    .name = "cohere2",
    .norm = NormKind::kLayer,
    .ffn_norm = "",
    .rope = RopeStyle::kInterleaved,
    .rotates_windows_only = true,
    .window_period = 4,
    .logit_scale = LogitScale::kMultiplies,
    .parallel_residual = true,
};

namespace {

constexpr std::string_view kCohereNames[] = {"CohereForCausalLM", "CohereModel"};
constexpr std::string_view kCohere2Names[] = {"Cohere2ForCausalLM", "Cohere2Model"};

constexpr DecoderDefaults kDefaults{.vocab = 256000,
                                    .ffn = 22528,
                                    .heads = 64,
                                    .context = 8192,
                                    .eps = Eps("layer_norm_eps", 1e-5),
                                    .tied = true};

constexpr auto kCohereHypers = Table<HyperRule>(
    DecoderHypers(kDefaults), Flag(Param::kAttentionBias, "attention_bias", false),
    Flag(Param::kQkNorm, "use_qk_norm", false), Factor(Param::kLogitScale, "logit_scale", 0.0625),
    HyperRule{Param::kMaxLength, "model_max_length", HyperKind::kCount, SameAs(Param::kContext), 1,
              1 << 30});
constexpr auto kCohere2Hypers = Table<HyperRule>(
    DecoderHypers(kDefaults), Flag(Param::kAttentionBias, "attention_bias", false),
    Factor(Param::kLogitScale, "logit_scale", 0.0625), Window(Default(4096)),
    HyperRule{Param::kPeriod, "sliding_window_pattern", HyperKind::kCount, Default(4)});

// What the first releases say of themselves, of which there is one kind.
constexpr FixedRule kCohere2Fixed[] = {
    {"use_gated_activation", "true"},
    {"use_parallel_block", "true"},
    {"rotary_pct", "1|1.0"},
    {"position_embedding_type", "\"rope_gptj\""},
};

constexpr KeyRule kLayerEpsKey{"attention.layer_norm_epsilon", ValueType::kF32, Param::kEps};
constexpr KeyRule kLogitScaleKey{"logit_scale", ValueType::kF32, Param::kLogitScale};
constexpr KeyRule kNoScaling{
    .key = "rope.scaling.type", .type = ValueType::kString, .text = "none"};

constexpr auto kCohereKeys = Table<KeyRule>(
    KeyRule{"block_count", ValueType::kU32, Param::kLayers},
    KeyRule{"context_length", ValueType::kU32, Param::kMaxLength},
    KeyRule{"embedding_length", ValueType::kU32, Param::kWidth},
    KeyRule{"feed_forward_length", ValueType::kU32, Param::kFfn},
    KeyRule{"attention.head_count", ValueType::kU32, Param::kHeads},
    KeyRule{"attention.head_count_kv", ValueType::kU32, Param::kKvHeads}, kRopeKeys, kLayerEpsKey,
    HeadSizeKeys(Param::kGivenHeadDim), kFileTypeKey, kLogitScaleKey, kNoScaling);
constexpr auto kCohere2Keys = Table<KeyRule>(
    kSizeKeys, kLayerEpsKey, HeadSizeKeys(Param::kGivenHeadDim), kFileTypeKey, kLogitScaleKey,
    kWindowKeys, KeyRule{"vocab_size", ValueType::kU32, Param::kVocab},
    KeyRule{"rope.dimension_count", ValueType::kU32, Param::kRopeDims}, kNoScaling);

bool HasCohereQkNorms(const FamilyContext& context, uint64_t) {
  return context.hyper.flag(Param::kQkNorm);
}
constexpr auto kCohereTensors = Table<TensorRule>(
    kEnds, kAttentionNorm, AttentionTensors(Param::kAttentionBias, Param::kAttentionBias),
    GatedMlp(),
    If(HasCohereQkNorms, {"blk.*.attn_q_norm.weight", "model.layers.*.self_attn.q_norm.weight",
                          Param::kHeads, Param::kHeadDim}),
    If(HasCohereQkNorms, {"blk.*.attn_k_norm.weight", "model.layers.*.self_attn.k_norm.weight",
                          Param::kKvHeads, Param::kHeadDim}));

absl::Status DeriveCohere(FamilyContext& context) {
  constexpr uint64_t kLeast = 64;
  if (context.hyper.flag(Param::kQkNorm) && context.hyper(Param::kLayers) < kLeast) {
    context.differences.push_back(
        Cat("cannot load norms of q and k in models of less than ", kLeast, " layers"));
  }
  return NoteAttentionBias(context);
}

bool IsCohere2Windowed(const Hyper& h, uint64_t layer) {
  return (layer + 1) % h(Param::kPeriod) != 0;
}

/// The class computes the head size, whatever the configuration says.
absl::Status DeriveCohere2(FamilyContext& context) {
  const Hyper& h = context.hyper;
  if (h(Param::kHeadDim) * h(Param::kHeads) != h(Param::kWidth)) {
    return context.config.Bad(
        "head_dim",
        Cat("is ", h(Param::kHeadDim), ", but the class has hidden_size / num_attention_heads"));
  }
  context.rotated.assign(context.windowed.begin(), context.windowed.end());
  return NoteAttentionBias(context);
}

}  // namespace

const Family kCohere = {
    .names = kCohereNames,
    .model_type = "cohere",
    .architecture = kCommandRArchitecture,
    .hypers = kCohereHypers,
    .fixed = {},
    .keys = kCohereKeys,
    .tensors = kCohereTensors,
    .llama_cpp = "loads norms of q and k only in models of 64 layers or more",
    .rope = {.theta = 500000},
    .derive = DeriveCohere,
};

const Family kCohere2 = {
    .names = kCohere2Names,
    .model_type = "cohere2",
    .architecture = kCohere2Architecture,
    .hypers = kCohere2Hypers,
    .fixed = kCohere2Fixed,
    .keys = kCohere2Keys,
    .tensors = kCohereTensors,
    .windowed = IsCohere2Windowed,
    .llama_cpp_windows = true,
    .derive = DeriveCohere2,
};

}  // namespace smelt
