#include "lib/model/adapter.h"

#include <algorithm>
#include <filesystem>
#include <span>

#include "formats/weights_directory.h"
#include "lib/base/ascii.h"
#include "lib/base/folder.h"
#include "lib/base/json.h"
#include "lib/base/status.h"
#include "lib/base/storage.h"

namespace smelt {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kConfig = "adapter_config.json";
constexpr std::string_view kPeftWeights[] = {"adapter_model.safetensors", "adapter_model.bin"},
                           kMlxWeights[] = {"adapters.safetensors", "adapters.npz"};
constexpr uint64_t kLimit = 16 << 20;

bool HasAnyOf(const std::string& folder, std::span<const std::string_view> names) {
  return std::ranges::any_of(
      names, [&](std::string_view name) { return Exists(fs::path(folder) / name); });
}

/// The first of the members that is a text: PEFT's name and MLX's.
std::string Text(const JsonValue& config, std::initializer_list<std::string_view> names) {
  for (std::string_view name : names) {
    const JsonValue* value = config.FindNonNull(name);
    if (value != nullptr && value->as_string() != nullptr && !value->as_string()->empty())
      return *value->as_string();
  }
  return "";
}

std::string KindOf(const std::string& type) {
  const std::string upper = UpperAscii(type);
  if (upper.empty() || upper == "LORA") return "LoRA";
  return upper == "DORA" ? "LoRA (DoRA)" : Escape(type, 40);
}

/// The file of whole weights beside an adapter; empty: there is none. Whatever lies in a folder
/// that does not describe a model is none's.
std::string WholeWeights(const std::string& folder) {
  const auto exists = [&](std::string_view name) { return Exists(fs::path(folder) / name); };
  if (!exists("config.json") && !exists("params.json")) return "";
  const absl::StatusOr<WeightsForm> form = FindWeights(folder);
  if (!form.ok() || form->files.empty() || form->files[0].starts_with("adapter")) return "";
  return form->files[0];
}

}  // namespace

bool HoldsOnlyAdapter(const std::string& folder) {
  return Exists(fs::path(folder) / kConfig) && HasAnyOf(folder, kPeftWeights) &&
         WholeWeights(folder).empty();
}

bool IsMlxAdapter(const std::string& folder) {
  return HasAnyOf(folder, kMlxWeights) && !HasAnyOf(folder, kPeftWeights);
}

absl::Status CheckNoAdapter(const std::string& folder, std::vector<std::string>& notes) {
  const bool configured = Exists(fs::path(folder) / kConfig), mlx = IsMlxAdapter(folder);
  if (!configured && !mlx && !HasAnyOf(folder, kPeftWeights)) return absl::OkStatus();

  std::string kind = "LoRA", base;
  if (configured) {
    SMELT_ASSIGN_OR_RETURN(const std::string text,
                           ReadTextFile((fs::path(folder) / kConfig).string(), kLimit));
    SMELT_ASSIGN_OR_RETURN(const JsonValue config,
                           ParseJsonValue(text, kConfig, {.allow_nan = true}));
    kind = KindOf(Text(config, {"peft_type", "fine_tune_type"}));
    base = Text(config, {"base_model_name_or_path", "model"});
  }
  if (const std::string whole = WholeWeights(folder); !whole.empty()) {
    notes.push_back(Cat("a ", kind, " adapter lies beside the weights; it is not applied: ",
                        Escape(whole, 60), " is read as it is"));
    return absl::OkStatus();
  }
  constexpr std::string_view kNoWeights =
      ", but not its weights (adapter_model.safetensors); download them";
  constexpr std::string_view kNoConfig =
      ", no whole model, and no adapter_config.json, which says its base and its lora_alpha; put "
      "the one that it was trained with beside it";
  return Error(ErrorCode::kUnsupported, Escape(folder), " holds a ", kind, " adapter",
               base.empty() ? std::string() : Cat(" of ", Escape(base, 120)),
               mlx ? ", trained by mlx-lm, no whole model: fuse it into its base (mlx_lm.fuse "
                     "--model BASE --adapter-path FOLDER) and convert the result"
               : configured ? kNoWeights
                            : kNoConfig);
}

}  // namespace smelt
