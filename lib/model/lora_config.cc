#include "lib/model/lora_config.h"

#include <algorithm>
#include <cmath>

#include "lib/base/ascii.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

/// Members of which only the value that switches them off is merged.
constexpr std::string_view kSwitches[] = {
    "use_qalora",      "use_bdlora",  "layer_replication", "alora_invocation_tokens",
    "velora_config",   "kasa_config", "monteclora_config", "arrow_config",
    "megatron_config", "enable_lora"};
/// Other members by whose names they could be such, and which are none.
constexpr std::string_view kNoSwitches[] = {"use_dora",      "use_rslora",   "loftq_config",
                                            "eva_config",    "corda_config", "lora_ga_config",
                                            "runtime_config"};
/// Methods that no merge makes weights of: inputs of their own, or a choice by what goes in.
constexpr std::string_view kBesideWeights[] = {"PROMPT_TUNING",
                                               "MULTITASK_PROMPT_TUNING",
                                               "P_TUNING",
                                               "PREFIX_TUNING",
                                               "ADAPTION_PROMPT",
                                               "CPT",
                                               "CARTRIDGE",
                                               "XLORA",
                                               "POLY"};
/// Ways to begin that change the base itself.
constexpr std::string_view kChangedBases[] = {"pissa", "olora", "corda", "loftq", "lora_ga"};

bool IsOff(const JsonValue* value) {
  if (value == nullptr || value->is_null()) return true;
  if (const bool* flag = value->as_bool()) return !*flag;
  return (value->as_array() != nullptr && value->as_array()->empty()) ||
         (value->as_object() != nullptr && value->as_object()->empty());
}

/// A module's name as PEFT's patterns see it.
std::string_view WithoutPrefix(std::string_view module) {
  constexpr std::string_view kPrefix = "base_model.model.";
  if (module.starts_with(kPrefix)) module.remove_prefix(kPrefix.size());
  return module;
}

}  // namespace

absl::StatusOr<LoraConfig> LoraConfig::Parse(std::string_view text, std::string path) {
  SMELT_ASSIGN_OR_RETURN(JsonValue value, ParseJsonValue(text, kFile, {.allow_nan = true}));
  LoraConfig config(std::move(value), std::move(path));
  SMELT_RETURN_IF_ERROR(config.CheckMethod());
  SMELT_ASSIGN_OR_RETURN(config.ranks_, config.ReadPatterns("rank_pattern"));
  SMELT_ASSIGN_OR_RETURN(config.alphas_, config.ReadPatterns("alpha_pattern"));
  return config;
}

absl::Status LoraConfig::CheckMethod() const {
  const auto bad = [&](std::string_view key, const std::string& text, std::string_view why) {
    return Error(ErrorCode::kUnsupported, Escape(path_, 80), "/", kFile, ": ", key, " is ",
                 Escape(text, 40), ", ", why, "; merge it with peft (merge_and_unload)");
  };
  if (!value_.is_object()) {
    return Error(ErrorCode::kInvalidInput, Escape(path_, 80), "/", kFile, " is no JSON object");
  }
  const JsonValue* type = value_.FindNonNull("peft_type");
  if (type != nullptr) {
    const std::string name = type->as_string() == nullptr ? "" : UpperAscii(*type->as_string());
    if (std::ranges::find(kBesideWeights, name) != std::end(kBesideWeights)) {
      return Error(ErrorCode::kUnsupported, Escape(path_, 80), "/", kFile, ": peft_type is ", name,
                   ", which works beside the weights and cannot be merged into them: a GGUF has no "
                   "place for it; use it with peft");
    }
    if (name != "LORA") return bad("peft_type", type->ToText(), "and only LORA is merged");
  }
  for (const std::string_view key : kSwitches) {
    const JsonValue* value = value_.Find(key);
    if (!IsOff(value)) return bad(key, value->ToText(), "which is not merged");
  }
  for (const auto& [key, value] : *value_.as_object()) {
    const bool one = key.starts_with("use_") || key.ends_with("_config");
    if (one && !IsOff(&value) && std::ranges::find(kNoSwitches, key) == std::end(kNoSwitches))
      return bad(Escape(key, 40), value.ToText(), "which is not known here");
  }
  const JsonValue* start = value_.FindNonNull("init_lora_weights");
  if (start != nullptr && start->as_string() != nullptr) {
    const std::string name = LowerAscii(*start->as_string());
    for (const std::string_view changed : kChangedBases) {
      if (name.starts_with(changed))
        return bad("init_lora_weights", name, "so that its base is not the published one");
    }
  }
  return absl::OkStatus();
}

bool LoraConfig::IsOn(std::string_view key) const { return !IsOff(value_.Find(key)); }

std::string LoraConfig::Base() const {
  const JsonValue* base = value_.FindNonNull("base_model_name_or_path");
  return base == nullptr || base->as_string() == nullptr ? "" : *base->as_string();
}

absl::Status LoraConfig::Bad(std::string_view key, std::string_view text,
                             std::string_view what) const {
  return Error(ErrorCode::kInvalidInput, Escape(path_, 80), "/", kFile, ": ", key, " ",
               Escape(text, 60), " is ", what);
}

absl::StatusOr<std::vector<LoraConfig::Pattern>> LoraConfig::ReadPatterns(
    std::string_view member) const {
  std::vector<Pattern> patterns;
  const JsonValue* value = value_.FindNonNull(member);
  if (value == nullptr) return patterns;
  if (value->as_object() == nullptr) return Bad(member, value->ToText(), "no dictionary");
  for (const auto& [key, number] : *value->as_object()) {
    absl::StatusOr<NamePattern> names = NamePattern::Compile(Cat("^(?:.*\\.)?(?:", key, ")$"));
    if (!names.ok()) return Bad(member, key, "no regular expression that can be used");
    if (!number.as_double()) return Bad(member, number.ToText(), "no number");
    patterns.push_back({key, *std::move(names), *number.as_double()});
  }
  return patterns;
}

absl::StatusOr<std::optional<double>> LoraConfig::Number(std::vector<Pattern>& patterns,
                                                         std::string_view key,
                                                         std::string_view module) {
  for (Pattern& pattern : patterns) {
    const absl::StatusOr<bool> in = pattern.names.In(WithoutPrefix(module));
    if (!in.ok()) return Bad(key, pattern.key, "a pattern that takes too long to match");
    if (!*in) continue;
    pattern.used = true;
    return pattern.value;
  }
  return NumberAt(key);
}

absl::StatusOr<std::optional<double>> LoraConfig::NumberAt(std::string_view key) const {
  const JsonValue* value = value_.FindNonNull(key);
  if (value == nullptr) return std::optional<double>();
  if (!value->as_double()) return Bad(key, value->ToText(), "no number");
  return value->as_double();
}

absl::StatusOr<double> LoraConfig::Checked(std::optional<double> alpha) const {
  const double value = alpha.value_or(8);  // of PEFT's LoraConfig
  if (value > 0 && std::isfinite(static_cast<float>(value))) return value;
  return Bad(
      "lora_alpha", Cat(value),
      value > 0 ? "too large: it makes no finite scale" : "no strength: expected a number above 0");
}

absl::StatusOr<double> LoraConfig::Alpha() const {
  SMELT_ASSIGN_OR_RETURN(const auto alpha, NumberAt("lora_alpha"));
  return Checked(alpha);
}

absl::StatusOr<double> LoraConfig::Scale(std::string_view module, uint64_t rank) {
  SMELT_ASSIGN_OR_RETURN(const auto said, Number(ranks_, "r", module));
  if (said && *said != static_cast<double>(rank)) {
    return Error(ErrorCode::kInvalidInput, Escape(path_, 80), "/", kFile, " says rank ", *said,
                 " of ", Escape(WithoutPrefix(module), 100), ", whose matrices have rank ", rank,
                 ": the two are not of one adapter");
  }
  SMELT_ASSIGN_OR_RETURN(const auto alpha, Number(alphas_, "lora_alpha", module));
  SMELT_ASSIGN_OR_RETURN(const double value, Checked(alpha));
  const auto divisor = static_cast<double>(std::max<uint64_t>(rank, 1));
  return value / (IsOn("use_rslora") ? std::sqrt(divisor) : divisor);
}

absl::StatusOr<std::vector<uint64_t>> LoraConfig::TokenIndices(std::string_view module) const {
  constexpr std::string_view kKey = "trainable_token_indices";
  const JsonValue* value = value_.FindNonNull(kKey);
  if (value != nullptr && value->as_object() != nullptr) {
    const JsonValue* own = nullptr;
    for (const auto& [name, indices] : *value->as_object()) {
      if (module == name || module.ends_with(Cat(".", name))) own = &indices;
    }
    value = own;
  }
  std::vector<uint64_t> indices;
  if (value == nullptr || value->as_array() == nullptr) {
    return Error(ErrorCode::kInvalidInput, Escape(path_, 80), "/", kFile, ": ", kKey,
                 " does not list the tokens of ", Escape(module, 100));
  }
  for (const JsonValue& item : *value->as_array()) {
    const std::optional<int64_t> index = item.as_int();
    if (!index || *index < 0) return Bad(kKey, item.ToText(), "no index of a token");
    indices.push_back(static_cast<uint64_t>(*index));
  }
  return indices;
}

std::vector<std::string> LoraConfig::TargetParameters() const {
  std::vector<std::string> names;
  const JsonValue* list = value_.FindNonNull("target_parameters");
  if (list == nullptr || list->as_array() == nullptr) return names;
  for (const JsonValue& item : *list->as_array())
    if (item.as_string() != nullptr) names.push_back(*item.as_string());
  return names;
}

std::vector<std::string> LoraConfig::UnusedPatterns() const {
  std::vector<std::string> unused;
  for (const std::vector<Pattern>* patterns : {&ranks_, &alphas_}) {
    for (const Pattern& pattern : *patterns)
      if (!pattern.used) unused.push_back(pattern.key);
  }
  return unused;
}

}  // namespace smelt
