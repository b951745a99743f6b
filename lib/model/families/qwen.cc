// Qwen2, Qwen2-MoE, Qwen3, Qwen3-MoE.
// Defaults: transformers models/{qwen2,qwen2_moe,qwen3,qwen3_moe}/configuration_*.py.
#include <algorithm>

#include "lib/base/status.h"
#include "lib/model/families/families.h"

namespace smelt {

const Architecture kQwen2Architecture = {.name = "qwen2"};
const Architecture kQwen2MoeArchitecture = {.name = "qwen2moe", .normalize_experts = false};
const Architecture kQwen3Architecture = {.name = "qwen3", .qk_norm = QkNorm::kPerHead};
const Architecture kQwen3MoeArchitecture = {.name = "qwen3moe", .qk_norm = QkNorm::kPerHead};

namespace {

constexpr std::string_view kQwen2Names[] = {"Qwen2ForCausalLM", "Qwen2Model"};
constexpr std::string_view kQwen2MoeNames[] = {"Qwen2MoeForCausalLM", "Qwen2MoeModel"};
constexpr std::string_view kQwen3Names[] = {"Qwen3ForCausalLM", "Qwen3Model"};
constexpr std::string_view kQwen3MoeNames[] = {"Qwen3MoeForCausalLM", "Qwen3MoeModel"};

constexpr HyperRule kUseWindow = Flag(Param::kUseWindow, "use_sliding_window", false);
constexpr HyperRule kMaxWindowLayers{Param::kMaxWindowLayers, "max_window_layers",
                                     HyperKind::kCount, Default(28), 0};

constexpr HyperRule kQwen2Hypers[] = {
    kLayers,
    kWidth,
    Vocab(151936),
    Ffn(22016),
    Heads(32),
    KvHeads(Default(32)),
    HeadDim(),
    Context(32768),
    RmsEps(1e-6),
    Tied(false),
    Window(Default(4096)),
    kUseWindow,
    kMaxWindowLayers,
};
constexpr HyperRule kQwen2MoeHypers[] = {
    kLayers,
    kWidth,
    Vocab(151936),
    Ffn(5632),
    Heads(16),
    KvHeads(Default(16)),
    HeadDim(),
    Context(32768),
    RmsEps(1e-6),
    Tied(false),
    Flag(Param::kAttentionBias, "qkv_bias", true),
    {Param::kExperts, "num_experts|num_local_experts", HyperKind::kCount, Default(60), 1, 1 << 16},
    ExpertsUsed(4),
    {Param::kExpertFfn, "moe_intermediate_size", HyperKind::kCount, Default(1408)},
    {Param::kSharedFfn, "shared_expert_intermediate_size", HyperKind::kCount, Default(5632)},
    Flag(Param::kNormTopkProb, "norm_topk_prob", false),
    Window(Default(4096)),
    kUseWindow,
    kMaxWindowLayers,
};
constexpr HyperRule kQwen3Hypers[] = {
    kLayers,
    kWidth,
    Vocab(151936),
    Ffn(22016),
    Heads(32),
    KvHeads(Default(32)),
    HeadDim(Default(128)),
    Context(32768),
    RmsEps(1e-6),
    Tied(false),
    Flag(Param::kAttentionBias, "attention_bias", false),
    Window(Default(4096)),
    kUseWindow,
    kMaxWindowLayers,
};
constexpr HyperRule kQwen3MoeHypers[] = {
    kLayers,
    kWidth,
    Vocab(151936),
    Ffn(6144),
    Heads(32),
    KvHeads(Default(4)),
    HeadDim(),
    Context(32768),
    RmsEps(1e-6),
    Tied(false),
    Flag(Param::kAttentionBias, "attention_bias", false),
    {Param::kExperts, "num_experts|num_local_experts", HyperKind::kCount, Default(128), 1, 1 << 16},
    ExpertsUsed(8),
    {Param::kExpertFfn, "moe_intermediate_size", HyperKind::kCount, Default(768)},
    Flag(Param::kNormTopkProb, "norm_topk_prob", false),
    Window(Default(4096)),
    kUseWindow,
};

constexpr auto kQwen2Keys = Table<KeyRule>(
    kSizeKeys, kRmsEpsKey, kExpertKeys, HeadSizeKeys(Param::kGivenHeadDim), kFileTypeKey,
    KeyRule{"expert_feed_forward_length", ValueType::kU32, Param::kExpertFfn},
    KeyRule{"expert_shared_feed_forward_length", ValueType::kU32, Param::kSharedFfn}, kWindowKeys);
// Qwen3: the head size is always its own.
constexpr auto kQwen3Keys = Table<KeyRule>(
    kSizeKeys, kRmsEpsKey, kExpertKeys, HeadSizeKeys(Param::kHeadDim), kFileTypeKey,
    KeyRule{"expert_feed_forward_length", ValueType::kU32, Param::kExpertFfn}, kWindowKeys);

constexpr auto kQwenExperts = ExpertTensors(Param::kExpertFfn);

constexpr auto kQwen2Tensors = Table<TensorRule>(
    kEnds, kAttentionNorm, AttentionTensors(Param::kAlways, Param::kNone), kFfnNorm, GatedMlp());

constexpr auto kQwen2MoeTensors = Table<TensorRule>(
    kEnds, kOutputOfTied, kAttentionNorm, AttentionTensors(Param::kAttentionBias, Param::kNone),
    kFfnNorm, GatedMlp(Param::kNone, IsDense), kQwenExperts, kSharedExpert);

constexpr auto kQwen3Tensors = Table<TensorRule>(
    kEnds, kAttentionNorm, AttentionTensors(Param::kAttentionBias, Param::kAttentionBias),
    kHeadNorms, kFfnNorm, GatedMlp());

constexpr auto kQwen3MoeTensors = Table<TensorRule>(
    kEnds, kAttentionNorm, AttentionTensors(Param::kAttentionBias, Param::kAttentionBias),
    kHeadNorms, kFfnNorm, GatedMlp(Param::kNone, IsDense), kQwenExperts);

// Windows as the classes make them.
bool IsQwen2MoeWindowed(const Hyper& h, uint64_t layer) {
  return h.flag(Param::kUseWindow) && layer % 2 == 0 && layer < h(Param::kMaxWindowLayers);
}

absl::Status DeriveQwen2Moe(FamilyContext& context) {
  WriteExpertNormalization(context);
  return ReadSparseLayers(context);
}

absl::Status DeriveQwen3Moe(FamilyContext& context) {
  SMELT_RETURN_IF_ERROR(NoteAttentionBias(context));
  WriteExpertNormalization(context);
  return ReadSparseLayers(context);
}

}  // namespace

const Family kQwen2 = {
    .names = kQwen2Names,
    .model_type = "qwen2",
    .architecture = kQwen2Architecture,
    .hypers = kQwen2Hypers,
    .fixed = {},
    .keys = kQwen2Keys,
    .tensors = kQwen2Tensors,
    .llama_cpp = "ignores sliding windows",
    .windowed = IsWindowedFromMax,
};

const Family kQwen2Moe = {
    .names = kQwen2MoeNames,
    .model_type = "qwen2_moe",
    .architecture = kQwen2MoeArchitecture,
    .hypers = kQwen2MoeHypers,
    .fixed = {},
    .keys = kQwen2Keys,
    .tensors = kQwen2MoeTensors,
    .llama_cpp = "never normalises the weights of the chosen experts; ignores sliding windows",
    .windowed = IsQwen2MoeWindowed,
    .derive = DeriveQwen2Moe,
};

const Family kQwen3 = {
    .names = kQwen3Names,
    .model_type = "qwen3",
    .architecture = kQwen3Architecture,
    .hypers = kQwen3Hypers,
    .fixed = {},
    .keys = kQwen3Keys,
    .tensors = kQwen3Tensors,
    .llama_cpp = "ignores sliding windows; cannot load attention biases",
    .windowed = IsWindowedFromMax,
    .derive = NoteAttentionBias,
};

const Family kQwen3Moe = {
    .names = kQwen3MoeNames,
    .model_type = "qwen3_moe",
    .architecture = kQwen3MoeArchitecture,
    .hypers = kQwen3MoeHypers,
    .fixed = {},
    .keys = kQwen3Keys,
    .tensors = kQwen3MoeTensors,
    .llama_cpp = "cannot load dense layers among those with experts, nor attention biases",
    .windowed = IsWindowGiven,
    .layer_types = LayerTypes::kUnheeded,
    .derive = DeriveQwen3Moe,
};

}  // namespace smelt
