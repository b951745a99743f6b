// Apertus: a feed-forward part without a gate whose activation is trained (xIELU), q and k
// normalised per head. Defaults: transformers models/apertus/configuration_apertus.py.
#include "lib/base/status.h"
#include "lib/model/families/families.h"

namespace smelt {

const Architecture kApertusArchitecture = {
    .name = "apertus",
    .qk_norm = QkNorm::kPerHead,
    .rope_freqs = true,
    .gated = false,
    .xielu = true,
};

namespace {

constexpr std::string_view kApertusNames[] = {"ApertusForCausalLM", "ApertusModel"};

constexpr auto kApertusHypers = Table<HyperRule>(
    DecoderHypers(
        {.vocab = 131072, .ffn = 14336, .heads = 32, .context = 65536, .eps = RmsEps(1e-5)}),
    Flag(Param::kAttentionBias, "attention_bias", false));

// What the releases say of themselves; the class has no such switches.
constexpr FixedRule kApertusFixed[] = {{"hidden_act", "\"xielu\""},
                                       {"post_norm", "false"},
                                       {"qk_norm", "true"},
                                       {"mlp_bias", "false"}};

constexpr auto kApertusKeys =
    Table<KeyRule>(kSizeKeys, kRmsEpsKey, HeadSizeKeys(Param::kGivenHeadDim), kFileTypeKey,
                   KeyRule{"vocab_size", ValueType::kU32, Param::kVocab},
                   KeyRule{"rope.dimension_count", ValueType::kU32, Param::kRopeDims});

/// One number a layer, as it is stored.
constexpr TensorRule Scalars(std::string_view key, std::string_view source) {
  return {key, source, Param::kNone, Param::kNone, TensorOp::kNumberOfLayer};
}

constexpr auto kApertusTensors =
    Table<TensorRule>(kEnds,
                      TensorRule{"blk.*.attn_norm.weight",
                                 "model.layers.*.attention_layernorm.weight", Param::kWidth},
                      AttentionTensors(Param::kAttentionBias, Param::kAttentionBias), kHeadNorms,
                      TensorRule{"blk.*.ffn_norm.weight",
                                 "model.layers.*.feedforward_layernorm.weight", Param::kWidth},
                      PlainMlp(), Scalars("xielu.alpha_n", "model.layers.*.mlp.act_fn.alpha_n"),
                      Scalars("xielu.alpha_p", "model.layers.*.mlp.act_fn.alpha_p"),
                      Scalars("xielu.beta", "model.layers.*.mlp.act_fn.beta"),
                      Scalars("xielu.eps", "model.layers.*.mlp.act_fn.eps"));

}  // namespace

const Family kApertus = {
    .names = kApertusNames,
    .model_type = "apertus",
    .architecture = kApertusArchitecture,
    .hypers = kApertusHypers,
    .fixed = kApertusFixed,
    .keys = kApertusKeys,
    .tensors = kApertusTensors,
    .rope = {.theta = 12000000,
             .parameters = R"({"rope_type": "llama3", "rope_theta": 12000000.0, "factor": 8.0,
                               "original_max_position_embeddings": 8192, "low_freq_factor": 1.0,
                               "high_freq_factor": 4.0})"},
    .activation_key = "",
    .derive = NoteAttentionBias,
};

}  // namespace smelt
