// From config.json to hyperparameters.
#include <algorithm>
#include <cmath>

#include "lib/base/status.h"
#include "lib/model/family.h"
#include "lib/model/published_tensors.h"
#include "lib/model/unread_keys.h"

namespace smelt {
namespace {

// Names in configurations and ours.
constexpr std::pair<std::string_view, std::string_view> kActivations[] = {
    {"silu", "silu"},
    {"swish", "silu"},
    {"gelu", "gelu"},
    {"gelu_new", "gelu_tanh"},
    {"gelu_fast", "gelu_tanh"},
    {"gelu_pytorch_tanh", "gelu_tanh"},
    {"relu", "relu"},
    {"relu2", "relu2"},
    {"gelu_python", "gelu"},
    {"gelu_accurate", "gelu_tanh"},
    {"gelu_python_tanh", "gelu_tanh"},
};

// What would change the result of every family, and no class here has besides.
constexpr FixedRule kFixedEverywhere[] = {{"is_causal", "true"}, {"per_layer_config", "{}"}};

absl::Status ReadRule(const HyperRule& rule, FamilyContext& context) {
  const Config& config = context.config;
  std::optional<double> value;
  if (rule.kind == HyperKind::kCount) {
    SMELT_ASSIGN_OR_RETURN(const auto count,
                           config.Count(rule.config, CheckedInteger<uint64_t>(rule.low).value_or(0),
                                        CheckedInteger<uint64_t>(rule.high).value_or(0)));
    if (count) value = static_cast<double>(*count);
  } else if (rule.kind == HyperKind::kReal) {
    SMELT_ASSIGN_OR_RETURN(value, config.Real(rule.config));
    if (value && (*value < rule.low || *value > rule.high)) {
      return config.Bad(rule.config,
                        Cat("is ", *value, ", expected ", rule.low, " to ", rule.high));
    }
  } else {
    SMELT_ASSIGN_OR_RETURN(const auto flag, config.Flag(rule.config));
    if (flag) value = *flag ? 1 : 0;
  }
  if (!value) {
    const bool is_null = config.IsNull(rule.config);
    if (is_null && !rule.null && rule.fallback.kind == Fallback::Kind::kNumber) {
      return config.Bad(
          rule.config,
          Cat("is null, which no class here knows; expected ",
              rule.kind == HyperKind::kFlag ? "true or false" : "a number", ", or no such key"));
    }
    const Fallback& fallback = is_null && rule.null ? *rule.null : rule.fallback;
    switch (fallback.kind) {
      case Fallback::Kind::kRequired:
        return config.Bad(rule.config, "is missing: it has no default that could be right");
      case Fallback::Kind::kNumber:
        value = fallback.number;
        break;
      case Fallback::Kind::kSameAs:
        value = context.hyper.real(fallback.other);
        break;
      case Fallback::Kind::kAbsent:
        return absl::OkStatus();
    }
  }
  context.hyper.Set(rule.param, *value);
  return absl::OkStatus();
}

absl::Status CheckFixed(const FixedRule& rule, const Config& config) {
  const JsonValue* value = config.Find(rule.config);
  if (value == nullptr) return absl::OkStatus();
  const std::string text = value->ToText();
  if (IsOneOf(*value, rule.allowed)) return absl::OkStatus();
  return Error(ErrorCode::kUnsupported, config.name(), ": ", rule.config, " is ", Escape(text, 40),
               ", which changes the result and is not supported; expected ", rule.allowed);
}

absl::Status ReadActivation(FamilyContext& context) {
  const Family& family = context.family;
  if (family.activation_key.empty()) return absl::OkStatus();
  SMELT_ASSIGN_OR_RETURN(const auto text, context.config.Text(family.activation_key));
  if (!text && context.config.IsNull(family.activation_key)) {
    return context.config.Bad(family.activation_key,
                              "is null, expected the name of an activation, or no such key");
  }
  std::string name = text.value_or(std::string(family.activation));
  if (family.gelu_means_tanh && name == "gelu") name = "gelu_pytorch_tanh";
  for (const auto& [published, ours] : kActivations) {
    if (published == name) {
      context.activation = ours;
      return absl::OkStatus();
    }
  }
  return Error(ErrorCode::kUnsupported, context.config.name(), ": ",
               context.config.KeyOf(family.activation_key), " is ", Escape(name),
               ", which is unknown; expected silu, gelu, gelu_pytorch_tanh, relu or relu2");
}

/// What nearly every family has: head size, rows of q, k and v, heads that divide.
absl::Status DeriveAttention(FamilyContext& context) {
  Hyper& h = context.hyper;
  const Config& config = context.config;
  if (!h.Has(Param::kHeads)) return absl::OkStatus();
  const uint64_t heads = h(Param::kHeads),
                 kv_heads = h.Has(Param::kKvHeads) ? h(Param::kKvHeads) : heads;
  if (h.Has(Param::kHeadDim)) {
    h.Set(Param::kGivenHeadDim, h.real(Param::kHeadDim));
  } else {
    if (h(Param::kWidth) % heads != 0) {
      return config.Bad(
          "num_attention_heads|n_head",
          Cat("is ", heads, ", which does not divide hidden_size ", h(Param::kWidth)));
    }
    h.Set(Param::kHeadDim, static_cast<double>(h(Param::kWidth) / heads));
  }
  if (heads % kv_heads != 0) {
    return config.Bad("num_key_value_heads",
                      Cat("is ", kv_heads, ", which does not divide the ", heads, " heads"));
  }
  const uint64_t size = h(Param::kHeadDim);
  h.Set(Param::kQ, static_cast<double>(heads * size));
  h.Set(Param::kKv, static_cast<double>(kv_heads * size));
  h.Set(Param::kQkv, static_cast<double>((heads + 2 * kv_heads) * size));
  if (h.Has(Param::kFfn)) h.Set(Param::kTwoFfn, 2.0 * static_cast<double>(h(Param::kFfn)));
  return absl::OkStatus();
}

absl::Status ReadRope(FamilyContext& context) {
  if (!context.family.rotary) return absl::OkStatus();
  Hyper& h = context.hyper;
  SMELT_ASSIGN_OR_RETURN(
      context.rope, ReadRopeConfigs(context.config, context.family.rope, h.real(Param::kContext)));
  if (!context.rope.note.empty()) context.notes.push_back(context.rope.note);
  if (!context.rope.warning.empty()) context.warnings.push_back(context.rope.warning);
  const bool whole = context.rope.full.type == RopeType::kProportional;
  if (context.rope.full.partial != 1 && !whole && !context.family.partial_rotary) {
    return context.config.Bad(
        "partial_rotary_factor",
        Cat("is ", context.rope.full.partial, ", but this family rotates whole heads"));
  }
  double size = h.real(Param::kHeadDim);
  if (context.family.rope.plain_counts && context.rope.full.partial != 1)
    size += h.real(Param::kPlainSize);
  const double dims = std::floor(size * (whole ? 1 : context.rope.full.partial));
  if (dims < 2 || CheckedInteger<uint64_t>(dims / 2) == std::nullopt) {
    return context.config.Bad("head_dim",
                              Cat("gives ", dims, " rotary dimensions, expected an even number"));
  }
  h.Set(Param::kRopeDims, dims);
  return absl::OkStatus();
}

/// layer_types of the configuration as windows; nothing when the key is absent. Errors name layers
/// of other kinds.
absl::StatusOr<std::optional<std::vector<bool>>> ReadLayerTypes(const FamilyContext& context) {
  if (!context.config.Has("layer_types")) return std::optional<std::vector<bool>>();
  SMELT_ASSIGN_OR_RETURN(const std::vector<std::string> types, context.config.Texts("layer_types"));
  if (types.size() != context.hyper(Param::kLayers)) {
    return context.config.Bad("layer_types",
                              Cat("has ", types.size(), " entries, expected one for each of ",
                                  context.hyper(Param::kLayers), " layers"));
  }
  std::vector<bool> windowed;
  for (const std::string& type : types) {
    // "attention" is an older word for full_attention, to transformers too.
    if (type != "full_attention" && type != "attention" && type != "sliding_attention") {
      return context.config.Bad(
          "layer_types",
          Cat("has ", Escape(type), ", expected full_attention or sliding_attention"));
    }
    windowed.push_back(type == "sliding_attention");
  }
  return std::optional<std::vector<bool>>(std::move(windowed));
}

/// Which layers have the window: as the class makes them, or as `layer_types` says.
absl::Status ReadWindows(FamilyContext& context) {
  const Family& family = context.family;
  if (family.layer_types == LayerTypes::kMixers) return absl::OkStatus();
  Hyper& h = context.hyper;
  SMELT_ASSIGN_OR_RETURN(const auto types, ReadLayerTypes(context));
  if (family.windowed == nullptr) {
    if (types && std::find(types->begin(), types->end(), true) != types->end()) {
      return context.config.Bad("layer_types", Cat("has sliding_attention, but ", family.names[0],
                                                   " has no layers with a window"));
    }
    return absl::OkStatus();
  }
  if (h.Has(Param::kUseWindow) && !h.flag(Param::kUseWindow)) h.Remove(Param::kWindow);
  std::vector<bool>& windowed = context.windowed;
  for (uint64_t i = 0; i < h(Param::kLayers); ++i) windowed.push_back(family.windowed(h, i));
  if (types && family.layer_types == LayerTypes::kDecides) {
    windowed = *types;
  } else if (types && windowed != *types) {
    context.notes.push_back(
        Cat("layer_types has no effect on ", family.names[0],
            ": sliding_window is of all layers or of none, here as in transformers"));
  }
  const bool any = std::find(windowed.begin(), windowed.end(), true) != windowed.end();
  if (any && h(Param::kWindow) == 0) {
    const std::string_view what = context.config.IsNull("sliding_window") ? "is null"
                                  : h.Has(Param::kWindow)                 ? "is 0"
                                                          : "is switched off by use_sliding_window";
    return context.config.Bad("sliding_window", Cat(what, ", but layers with a window need one"));
  }
  return absl::OkStatus();
}

/// Blocks of a draft head that the files hold; the configurations of some classes do not say.
absl::StatusOr<uint64_t> CountDraft(const FamilyContext& context) {
  const DraftHead& draft = context.family.draft;
  std::vector<std::string> notes;
  SMELT_ASSIGN_OR_RETURN(PublishedTensors published,
                         PublishedTensors::Make(context.family, context.container, notes));
  const uint64_t first = draft.prefix.empty() ? context.hyper(Param::kLayers) : 0;
  uint64_t count = 0;
  while (published.Find(draft.mark, first + count) != nullptr) ++count;
  return count;
}

absl::Status ReadDraft(FamilyContext& context, std::optional<bool> keep) {
  context.wants_draft = keep.value_or(false);
  const DraftHead& draft = context.family.draft;
  if (draft.mark.empty()) return absl::OkStatus();
  SMELT_ASSIGN_OR_RETURN(context.draft_blocks, CountDraft(context));
  if (context.draft_blocks != 0 && draft.kept && keep.value_or(true))
    context.hyper.Set(Param::kDraft, static_cast<double>(context.draft_blocks));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<FamilyContext> ReadHyper(const Family& family, const Config& config,
                                        const Container& container, const SlicedTensors* sliced,
                                        std::optional<bool> keep_draft) {
  FamilyContext context{
      .family = family, .config = config, .container = container, .sliced = sliced};
  context.hyper.Set(Param::kAlways, 1);  // biases that every model has
  context.hyper.Set(Param::kOne, 1);
  for (const HyperRule& rule : family.hypers) SMELT_RETURN_IF_ERROR(ReadRule(rule, context));
  for (const FixedRule& rule : kFixedEverywhere) SMELT_RETURN_IF_ERROR(CheckFixed(rule, config));
  for (const FixedRule& rule : family.fixed) SMELT_RETURN_IF_ERROR(CheckFixed(rule, config));
  for (std::string_view key : family.without_effect) {
    if (config.Has(key)) {
      context.notes.push_back(
          Cat(key, " has no effect on ", family.names[0], ", here as in transformers"));
    }
  }
  SMELT_RETURN_IF_ERROR(ReadActivation(context));
  SMELT_RETURN_IF_ERROR(DeriveAttention(context));
  SMELT_RETURN_IF_ERROR(ReadRope(context));
  SMELT_RETURN_IF_ERROR(ReadWindows(context));
  SMELT_RETURN_IF_ERROR(ReadDraft(context, keep_draft));
  if (family.derive != nullptr) SMELT_RETURN_IF_ERROR(family.derive(context));
  // Draft blocks attend, and have experts as the last block has.
  Hyper& h = context.hyper;
  h.Set(Param::kBlocks,
        h.real(Param::kLayers) + (h.Has(Param::kDraft) ? h.real(Param::kDraft) : 0));
  const uint64_t blocks = h(Param::kBlocks);
  if (!context.sparse.empty()) context.sparse.resize(blocks, context.sparse.back());
  if (!context.recurrent.empty()) context.recurrent.resize(blocks, false);
  return context;
}

}  // namespace smelt
