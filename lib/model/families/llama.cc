// Llama 2, 3, 3.x; Mistral, Codestral and Ministral; Mixtral: GGUF architecture "llama".
// Defaults: transformers models/{llama,mistral,ministral,mixtral}/configuration_*.py.
#include "lib/model/families/families.h"

namespace smelt {

const Architecture kLlamaArchitecture = {
    .name = "llama",
    .rope = RopeStyle::kInterleaved,
    .rope_freqs = true,
};

namespace {

constexpr std::string_view kLlamaNames[] = {"LlamaForCausalLM", "LlamaModel", "LLaMAForCausalLM"};
constexpr std::string_view kLlamaMistralNames[] = {"MistralForCausalLM", "MistralModel"};
constexpr std::string_view kMinistralNames[] = {"MinistralForCausalLM", "MinistralModel"};
constexpr std::string_view kMixtralNames[] = {"MixtralForCausalLM", "MixtralModel"};

constexpr HyperRule kLlamaHypers[] = {
    kLayers,
    kWidth,
    Vocab(32000),
    Ffn(11008),
    Heads(32),
    KvHeads(SameAs(Param::kHeads)),
    HeadDim(),
    Context(2048),
    RmsEps(1e-6),
    Tied(false),
    Flag(Param::kAttentionBias, "attention_bias", false),
    Flag(Param::kMlpBias, "mlp_bias", false),
};

constexpr HyperRule kLlamaMistralHypers[] = {
    kLayers,
    kWidth,
    Vocab(32000),
    Ffn(14336),
    Heads(32),
    KvHeads(Default(8)),
    HeadDim(),
    Context(131072),
    RmsEps(1e-6),
    Tied(false),
    Window(Default(4096)),
};

constexpr HyperRule kMixtralHypers[] = {
    kLayers,         kWidth,          Vocab(32000), Ffn(14336),  Heads(32),     KvHeads(Default(8)),
    HeadDim(),       Context(131072), RmsEps(1e-5), Tied(false), NumExperts(8), ExpertsUsed(2),
    Window(kAbsent),
};

// The classes have no such switches; a fork that sets them means another model.
constexpr FixedRule kLlamaFixed[] = {{"rope_interleaved", "false"}};
constexpr FixedRule kLlamaMistralFixed[] = {
    {"attention_bias", "false"}, {"mlp_bias", "false"}, {"rope_interleaved", "false"}};

constexpr auto kLlamaKeys =
    Table<KeyRule>(kSizeKeys, kRmsEpsKey, kExpertKeys, HeadSizeKeys(Param::kHeadDim), kFileTypeKey,
                   KeyRule{"vocab_size", ValueType::kU32, Param::kVocab},
                   KeyRule{"rope.dimension_count", ValueType::kU32, Param::kRopeDims}, kWindowKeys);

constexpr auto kDense =
    Table<TensorRule>(kEnds, kAttentionNorm,
                      AttentionTensors(Param::kAttentionBias, Param::kAttentionBias,
                                       TensorOp::kRotaryQ, TensorOp::kRotaryK),
                      kFfnNorm, GatedMlp(Param::kMlpBias));

constexpr auto kSparse = Table<TensorRule>(
    kEnds, kAttentionNorm,
    AttentionTensors(Param::kNone, Param::kNone, TensorOp::kRotaryQ, TensorOp::kRotaryK), kFfnNorm,
    kBlockSparseExperts);

}  // namespace

const std::span<const KeyRule> kLlamaKeyRules = kLlamaKeys;

const Family kLlama = {
    .names = kLlamaNames,
    .model_type = "llama",
    .architecture = kLlamaArchitecture,
    .hypers = kLlamaHypers,
    .fixed = kLlamaFixed,
    .keys = kLlamaKeys,
    .tensors = kDense,
};

// transformers' AutoConfig builds a Ministral of a Mistral that has layer_types, so that they
// decide here too; without them the two are the same.
const Family kMistral = {
    .names = kLlamaMistralNames,
    .model_type = "mistral",
    .architecture = kLlamaArchitecture,
    .hypers = kLlamaMistralHypers,
    .fixed = kLlamaMistralFixed,
    .keys = kLlamaKeys,
    .tensors = kDense,
    .llama_cpp = "ignores a sliding window",
    .windowed = IsWindowGiven,
};

const Family kMinistral = {
    .names = kMinistralNames,
    .model_type = "ministral",
    .architecture = kLlamaArchitecture,
    .hypers = kLlamaMistralHypers,
    .fixed = kLlamaMistralFixed,
    .keys = kLlamaKeys,
    .tensors = kDense,
    .checked = "drawn",
    .llama_cpp = "ignores sliding windows",
    .windowed = IsWindowGiven,
};

const Family kMixtral = {
    .names = kMixtralNames,
    .model_type = "mixtral",
    .architecture = kLlamaArchitecture,
    .hypers = kMixtralHypers,
    .fixed = kLlamaMistralFixed,
    .keys = kLlamaKeys,
    .tensors = kSparse,
    .llama_cpp = "ignores a sliding window",
    .rope = {.theta = 1000000},
    .windowed = IsWindowGiven,
    .layer_types = LayerTypes::kUnheeded,
};

}  // namespace smelt
