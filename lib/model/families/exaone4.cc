// EXAONE 4: norms after the blocks, of q and k per head; the hybrid has a window and rotation in
// some layers, neither in the others. Defaults: transformers
// models/exaone4/configuration_exaone4.py.
#include "lib/base/json.h"
#include "lib/base/status.h"
#include "lib/model/families/families.h"

namespace smelt {

const Architecture kExaone4Architecture = {
    .name = "exaone4",
    .mixer_norm = "",
    .post_mixer_norm = "post_attention_norm",
    .ffn_norm = "",
    .post_ffn_norm = "post_ffw_norm",
    .qk_norm = QkNorm::kPerHead,
    .rope_freqs = true,
    .rotates_windows_only = true,
};

namespace {

constexpr std::string_view kExaone4Names[] = {"Exaone4ForCausalLM", "Exaone4Model"};
constexpr uint64_t kPeriod = 4;  // of layers that look at everything, unless the makers say

constexpr auto kExaone4Hypers = Table<HyperRule>(
    DecoderHypers(
        {.vocab = 102400, .ffn = 16384, .heads = 32, .context = 2048, .eps = RmsEps(1e-5)}),
    Window(Default(4096)));

constexpr auto kExaone4Keys =
    Table<KeyRule>(kSizeKeys, kRmsEpsKey, HeadSizeKeys(Param::kGivenHeadDim), kFileTypeKey,
                   KeyRule{"vocab_size", ValueType::kU32, Param::kVocab}, kWindowKeys);

constexpr auto kExaone4Tensors =
    Table<TensorRule>(kEnds, AttentionTensors(Param::kNone, Param::kNone), kHeadNorms,
                      kPostAttentionNorm, GatedMlp(), kPostFfnNorm);

/// Without layer_types every sliding_window_pattern-th layer looks at everything. Beside them it
/// may be a text, as the makers write it.
absl::Status ReadExaone4Pattern(FamilyContext& context) {
  constexpr std::string_view kKey = "sliding_window_pattern";
  const JsonValue* pattern = context.config.Find(kKey);
  if (context.config.Has("layer_types") || pattern == nullptr) return absl::OkStatus();
  if (pattern->is_string()) {
    if (*pattern->as_string() == "LLLG") return absl::OkStatus();
    return context.config.Bad(kKey, "is a text, which only layer_types explains");
  }
  SMELT_ASSIGN_OR_RETURN(const auto period, context.config.Count(kKey, 1));
  for (size_t i = 0; i < context.windowed.size(); ++i)
    context.windowed[i] = (i + 1) % period.value_or(kPeriod) != 0;
  return absl::OkStatus();
}

absl::Status DeriveExaone4(FamilyContext& context) {
  const Hyper& h = context.hyper;
  if (!h.Has(Param::kWindow)) return absl::OkStatus();
  SMELT_RETURN_IF_ERROR(ReadExaone4Pattern(context));
  // Also where no layer has a window.
  context.rotated.assign(context.windowed.begin(), context.windowed.end());
  if (h(Param::kLayers) != 64) {
    context.differences.push_back(
        "knows layers with a window and layers without rotation only in models of 64 layers");
  }
  return absl::OkStatus();
}

bool IsExaone4Windowed(const Hyper& h, uint64_t layer) {
  return h.Has(Param::kWindow) && (layer + 1) % kPeriod != 0;
}

}  // namespace

const Family kExaone4 = {
    .names = kExaone4Names,
    .model_type = "exaone4",
    .architecture = kExaone4Architecture,
    .hypers = kExaone4Hypers,
    .fixed = {},
    .keys = kExaone4Keys,
    .tensors = kExaone4Tensors,
    .llama_cpp = "knows windows and layers without rotation only in models of 64 layers",
    .windowed = IsExaone4Windowed,
    .llama_cpp_windows = true,
    .lists_windows = true,
    .derive = DeriveExaone4,
};

}  // namespace smelt
