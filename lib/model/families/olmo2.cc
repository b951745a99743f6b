// OLMo 2 and 3: norms after the blocks, q and k normalised over all heads at once; OLMo 3 has a
// window in most layers, and scales the rotation in the others only.
// Defaults: transformers models/{olmo2,olmo3}/configuration_*.py.
#include "lib/model/families/families.h"

namespace smelt {

const Architecture kOlmo2Architecture = {
    .name = "olmo2",
    .mixer_norm = "",
    .post_mixer_norm = "post_attention_norm",
    .ffn_norm = "",
    .post_ffn_norm = "post_ffw_norm",
    .qk_norm = QkNorm::kAllHeads,
    .rope_scales_windows = false,
    .window_period = 4,  // OLMo 3, which shares the architecture
};

namespace {

constexpr std::string_view kOlmo2Names[] = {"Olmo2ForCausalLM", "Olmo2Model"};

constexpr std::array<HyperRule, 11> kOlmo2Hypers = {{
    kLayers,
    kWidth,
    Vocab(50304),
    Ffn(11008),
    Heads(32),
    KvHeads(SameAs(Param::kHeads)),
    HeadDim(),
    Context(2048),
    RmsEps(1e-5),
    Tied(false),
    Flag(Param::kAttentionBias, "attention_bias", false),
}};

constexpr auto kOlmo2Keys =
    Table<KeyRule>(kSizeKeys, kRmsEpsKey, HeadSizeKeys(Param::kGivenHeadDim), kFileTypeKey);

constexpr auto kOlmo2Tensors = Table<TensorRule>(
    kEnds, kOutputOfTied, AttentionTensors(Param::kAttentionBias, Param::kAttentionBias),
    kAllHeadNorms, kPostAttentionNorm, GatedMlp(), kPostFfnNorm);

constexpr std::string_view kOlmo3Names[] = {"Olmo3ForCausalLM", "Olmo3Model"};

constexpr auto kOlmo3Hypers = Table<HyperRule>(kOlmo2Hypers, Window(Default(4096)));
constexpr auto kOlmo3Keys = Table<KeyRule>(kOlmo2Keys, kWindowKeys);

bool IsOlmo3Windowed(const Hyper&, uint64_t layer) { return (layer + 1) % 4 != 0; }

}  // namespace

const Family kOlmo2 = {
    .names = kOlmo2Names,
    .model_type = "olmo2",
    .architecture = kOlmo2Architecture,
    .hypers = kOlmo2Hypers,
    .fixed = {},
    .keys = kOlmo2Keys,
    .tensors = kOlmo2Tensors,
    .derive = NoteAttentionBias,
};

const Family kOlmo3 = {
    .names = kOlmo3Names,
    .model_type = "olmo3",
    .architecture = kOlmo2Architecture,
    .hypers = kOlmo3Hypers,
    .fixed = {},
    .keys = kOlmo3Keys,
    .tensors = kOlmo2Tensors,
    .llama_cpp = "takes the global layers' rope_theta for all",
    .rope = {.theta = 500000, .local_theta = 500000},
    .windowed = IsOlmo3Windowed,
    .llama_cpp_windows = true,
    .lists_windows = true,
    .derive = NoteAttentionBias,
};

}  // namespace smelt
