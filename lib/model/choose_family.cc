#include "lib/model/choose_family.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <vector>

#include "lib/base/status.h"
#include "lib/model/alternatives.h"
#include "smelt/nearest.h"

namespace smelt {
namespace {

constexpr size_t kShown = 3;  // nearest names in a message

/// What a class is called before it says what it is for: "Qwen3VL" of
/// "Qwen3VLForConditionalGeneration".
std::string_view StemOf(std::string_view name) {
  for (std::string_view purpose : {"For", "LMHead", "Model"}) {
    if (const size_t at = name.find(purpose); at != 0 && at != std::string_view::npos)
      return name.substr(0, at);
  }
  return name;
}

/// `known`: one name of each family, in the order of KnownFamilies.
absl::Status Unknown(const Config& config, std::string_view what, std::string_view name,
                     std::span<const std::string_view> known) {
  std::vector<std::string_view> stems;
  for (std::string_view one : known) stems.push_back(StemOf(one));
  std::string nearest;
  for (std::string_view stem : NearestNames(StemOf(name), stems, kShown)) {
    const auto at = std::ranges::find(stems, stem) - stems.begin();
    const std::string_view one = known[static_cast<size_t>(at)];
    if (nearest.find(one) == std::string::npos) nearest += Cat(nearest.empty() ? "" : ", ", one);
  }
  return Error(ErrorCode::kUnsupported, config.name(), ": ", what, " ", Escape(name, 80),
               " is not supported; the nearest that are: ", nearest,
               "; `smelt families` lists all");
}

/// Classes that wrap a model of any class, by the beginnings and endings of their names.
constexpr std::string_view kWrappersBefore[] = {"FullyShardedDataParallel",
                                                "DistributedDataParallel",
                                                "DataParallel",
                                                "DeepSpeed",
                                                "FSDP2",
                                                "FSDP",
                                                "DDP",
                                                "AutoPeft",
                                                "Auto",
                                                "Peft",
                                                "PEFT",
                                                "QLora",
                                                "QLoRA",
                                                "Lora",
                                                "LoRA",
                                                "Unsloth",
                                                "FastLanguage",
                                                "Fast",
                                                "AutoLigerKernel",
                                                "Liger",
                                                "Optimized",
                                                "Compiled",
                                                "ORT"};
constexpr std::string_view kWrappersBehind[] = {"WithValueHead", "WithHydraValueHead",
                                                "WithRewardHead"};
/// What is left of a name that says nothing of the model inside, or that it is a causal one.
constexpr std::string_view kAnyModel[] = {
    "",       "Model",  "ModelForCausalLM", "ForCausalLM",
    "Module", "Engine", "PreTrainedModel",  "PreTrainedModelWrapper"};

/// "LlamaForCausalLM" of "FSDPLlamaForCausalLM" and "LlamaForCausalLMWithValueHead", "Model" of
/// "PeftModel"; the name itself where nothing is wrapped around it.
std::string_view Unwrapped(std::string_view name) {
  for (bool again = true; again;) {
    again = false;
    for (std::string_view wrapper : kWrappersBehind) {
      if (!name.ends_with(wrapper)) continue;
      name.remove_suffix(wrapper.size());
      again = true;
    }
    for (std::string_view wrapper : kWrappersBefore) {
      if (!name.starts_with(wrapper)) continue;
      name.remove_prefix(wrapper.size());
      again = true;
      break;
    }
  }
  return name;
}

const Family* FamilyOfType(std::string_view model_type, const Config& config) {
  for (const Family* family : KnownFamilies()) {
    if (IsAlternative(family->model_type, model_type) && HasPartOf(*family, config)) return family;
  }
  return nullptr;
}

/// The family inside of a wrapper that `architectures` names; nullptr: it is none, or of what is
/// not clear.
const Family* InsideWrapper(std::string_view name, const std::optional<std::string>& model_type,
                            const Config& config) {
  const std::string_view inner = Unwrapped(name);
  const bool any = std::ranges::find(kAnyModel, inner) != std::end(kAnyModel);
  if (inner == name && !any) return nullptr;
  const Family* by_type = model_type ? FamilyOfType(*model_type, config) : nullptr;
  if (any) return by_type;
  const Family* by_name = FindFamily(inner, config);
  return by_name != nullptr && (by_type == by_name || !model_type) ? by_name : nullptr;
}

absl::StatusOr<const Family*> ByModelType(const Config& config) {
  SMELT_ASSIGN_OR_RETURN(const auto type, config.Text("model_type"));
  if (!type) {
    return config.Bad("architectures",
                      "is missing, and so is model_type: nothing says what this model is; add its "
                      "class, as `smelt families` lists them");
  }
  if (const Family* family = FamilyOfType(*type, config)) return family;
  std::vector<std::string_view> known;
  for (const Family* family : KnownFamilies()) known.push_back(family->model_type);
  return Unknown(config, "model_type", *type, known);
}

/// Of a class that is known, but not with this text part; OK where no class of the name is known.
absl::Status CheckTextPart(const Config& config, std::string_view name) {
  std::string known;
  std::string_view key;
  for (const Family* family : KnownFamilies()) {
    if (family->part_type.empty() || std::ranges::find(family->names, name) == family->names.end())
      continue;
    key = family->part;
    known += Cat(known.empty() ? "" : ", ", Alternatives(family->part_type)[0]);
  }
  if (known.empty()) return absl::OkStatus();
  const JsonValue* part = config.Find(key);
  const JsonValue* type = part == nullptr ? nullptr : part->FindNonNull("model_type");
  const std::string* text = type == nullptr ? nullptr : type->as_string();
  return Error(ErrorCode::kUnsupported, config.name(), ": ", key,
               part == nullptr ? std::string(" is missing")
               : type == nullptr
                   ? std::string(" has no model_type")
                   : Cat(" has model_type ", Escape(text == nullptr ? type->ToText() : *text, 60)),
               ", a text part that ", Escape(name, 80), " is not known with here; known are ",
               known);
}

}  // namespace

absl::StatusOr<ChosenFamily> ChooseFamily(const Config& config) {
  SMELT_ASSIGN_OR_RETURN(const std::vector<std::string> names, config.Texts("architectures"));
  ChosenFamily chosen;
  if (names.empty()) {
    SMELT_ASSIGN_OR_RETURN(chosen.family, ByModelType(config));
    return chosen;
  }
  for (const std::string& name : names) {
    chosen.family = FindFamily(name, config);
    if (chosen.family != nullptr) return chosen;
    SMELT_RETURN_IF_ERROR(CheckTextPart(config, name));
  }
  SMELT_ASSIGN_OR_RETURN(const auto type, config.Text("model_type"));
  for (const std::string& name : names) {
    chosen.family = InsideWrapper(name, type, config);
    if (chosen.family == nullptr) continue;
    chosen.note =
        Cat(config.name(), ": architectures says ", Escape(name, 60), ", a wrapper: read as ",
            chosen.family->names[0], type ? Cat(", as model_type says") : std::string());
    return chosen;
  }
  std::vector<std::string_view> known;
  for (const Family* family : KnownFamilies()) known.push_back(family->names[0]);
  return Unknown(config, "architecture", names[0], known);
}

}  // namespace smelt
