// Arcee (AFM): a Llama whose feed-forward part is relu squared without a gate.
// Defaults: transformers models/arcee/configuration_arcee.py.
#include "lib/model/families/families.h"

namespace smelt {

const Architecture kArceeArchitecture = {
    .name = "arcee",
    .rope = RopeStyle::kInterleaved,
    .gated = false,
    .activation = Activation::kRelu2,
};

namespace {

constexpr std::string_view kArceeNames[] = {"ArceeForCausalLM", "ArceeModel"};

constexpr auto kArceeHypers = Table<HyperRule>(
    DecoderHypers(
        {.vocab = 32000, .ffn = 18432, .heads = 32, .context = 4096, .eps = RmsEps(1e-5)}),
    Flag(Param::kAttentionBias, "attention_bias", false), Flag(Param::kMlpBias, "mlp_bias", false));

constexpr auto kArceeKeys =
    Table<KeyRule>(kSizeKeys, kRmsEpsKey, HeadSizeKeys(Param::kHeadDim), kFileTypeKey,
                   KeyRule{"vocab_size", ValueType::kU32, Param::kVocab},
                   KeyRule{"rope.dimension_count", ValueType::kU32, Param::kRopeDims});

constexpr auto kArceeTensors =
    Table<TensorRule>(kEnds, kAttentionNorm,
                      AttentionTensors(Param::kAttentionBias, Param::kAttentionBias,
                                       TensorOp::kRotaryQ, TensorOp::kRotaryK),
                      kFfnNorm, PlainMlp(Param::kMlpBias));

}  // namespace

const Family kArcee = {
    .names = kArceeNames,
    .model_type = "arcee",
    .architecture = kArceeArchitecture,
    .hypers = kArceeHypers,
    .fixed = {},
    .keys = kArceeKeys,
    .tensors = kArceeTensors,
    .activation = "relu2",
    .derive = NoteAttentionBias,
};

}  // namespace smelt
