#include "lib/model/lora.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <utility>

#include "formats/model_folder.h"
#include "formats/safetensors.h"
#include "formats/torch/torch.h"
#include "lib/base/folder.h"
#include "lib/base/status.h"
#include "lib/base/storage.h"
#include "lib/model/adapter.h"
#include "lib/model/published_tensors.h"

namespace smelt {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kWeights[] = {"adapter_model.safetensors", "adapter_model.bin"};
constexpr uint64_t kLimit = 16 << 20;

/// How the names of a module's parts go on behind the module's own.
struct PartKind {
  std::string_view mark;
  const RawTensor* LoraModule::*place = nullptr;
  bool embedding = false;
};
constexpr PartKind kParts[] = {
    {".lora_A", &LoraModule::a},
    {".lora_B", &LoraModule::b},
    {".lora_embedding_A", &LoraModule::a, true},
    {".lora_embedding_B", &LoraModule::b, true},
    {".lora_magnitude_vector", &LoraModule::lengths},
    {".token_adapter.trainable_tokens_delta", &LoraModule::tokens},
};

/// "MODULE.lora_A[.ADAPTER][.weight]" in its parts.
struct PartName {
  std::string_view module, adapter;
  PartKind kind;
  bool bias = false;
};

std::optional<PartName> ParsePart(std::string_view name) {
  for (const PartKind& kind : kParts) {
    const size_t at = name.find(kind.mark);
    if (at == name.npos) continue;
    std::string_view rest = name.substr(at + kind.mark.size());
    if (!rest.empty() && rest[0] != '.') continue;
    PartName part{.module = name.substr(0, at), .adapter = "", .kind = kind};
    for (const std::string_view ending : {".weight", ".bias"}) {
      if (!rest.ends_with(ending)) continue;
      part.bias = ending == ".bias";
      rest.remove_suffix(ending.size());
      break;
    }
    if (!rest.empty()) part.adapter = rest.substr(1);
    return part;
  }
  return std::nullopt;
}

bool HoldsWeights(RawType type) {
  return type == RawType::kF32 || type == RawType::kF16 || type == RawType::kBF16 ||
         type == RawType::kF64;
}

absl::Status Twice(const LoraAdapter& adapter, const RawTensor& a, const RawTensor& b) {
  return Error(ErrorCode::kUnsupported, "the adapter ", Escape(adapter.path, 80), " has ",
               Escape(a.name, 100), " and ", Escape(b.name, 100),
               ": which of two is meant is not clear");
}

absl::Status CheckModule(const LoraAdapter& adapter, const std::string& name,
                         const LoraModule& module) {
  const auto lacks = [&](std::string_view what) {
    return Error(ErrorCode::kInvalidInput, "the adapter ", Escape(adapter.path, 80), " has no ",
                 what, " for ", Escape(name, 100));
  };
  if (module.tokens != nullptr && !module.low_rank() && module.lengths == nullptr)
    return absl::OkStatus();
  if (module.a == nullptr || module.b == nullptr)
    return lacks(module.a == nullptr ? "lora_A" : "lora_B");
  for (const RawTensor* tensor : {module.a, module.b}) {
    if (tensor->shape.size() == 2) continue;
    if (tensor->elements() == 0) {
      return Error(ErrorCode::kInvalidInput, "tensor ", Escape(tensor->name, 100),
                   " of the adapter ", Escape(adapter.path, 80),
                   " is empty: it was saved without its values, as DeepSpeed's ZeRO-3 does unless "
                   "it gathers them first; save it again");
    }
    return Error(ErrorCode::kUnsupported, "tensor ", Escape(tensor->name, 100), " of shape ",
                 ShapeText(tensor->shape), " is no matrix, and adapters of others are not merged");
  }
  if (module.lengths == nullptr && adapter.config.use_dora())
    return lacks("lora_magnitude_vector, although it says use_dora,");
  return absl::OkStatus();
}

/// Where transformers keeps what it has downloaded: the first of these variables that is set.
std::string HubCache() {
  struct Place {
    const char *variable, *below;
  };
  constexpr Place kPlaces[] = {{"HF_HUB_CACHE", ""},
                               {"HUGGINGFACE_HUB_CACHE", ""},
                               {"HF_HOME", "/hub"},
                               {"XDG_CACHE_HOME", "/huggingface/hub"},
                               {"HOME", "/.cache/huggingface/hub"}};
  for (const Place& place : kPlaces) {
    const char* const value = std::getenv(place.variable);
    if (value != nullptr && *value != '\0') return Cat(value, place.below);
  }
  return "";
}

}  // namespace

absl::StatusOr<LoraAdapter> OpenLora(const std::string& path) {
  const auto file = [&](std::string_view name) { return (fs::path(path) / name).string(); };
  if (!IsFolder(path) || !NameExists(file(LoraConfig::kFile))) {
    return Error(ErrorCode::kNotFound, Escape(path), " is no adapter: expected a folder with ",
                 LoraConfig::kFile, " and ", kWeights[0]);
  }
  if (IsMlxAdapter(path)) {
    return Error(ErrorCode::kUnsupported, Escape(path),
                 " is an adapter of mlx-lm's, and only PEFT's are merged: fuse it into its base "
                 "(mlx_lm.fuse --model BASE --adapter-path FOLDER) and convert the result");
  }
  SMELT_ASSIGN_OR_RETURN(std::string text, ReadTextFile(file(LoraConfig::kFile), kLimit));
  SMELT_ASSIGN_OR_RETURN(LoraConfig config, LoraConfig::Parse(text, path));
  const auto* const weights =
      std::ranges::find_if(kWeights, [&](std::string_view name) { return NameExists(file(name)); });
  if (weights == std::end(kWeights)) {
    return Error(ErrorCode::kNotFound, Escape(path), " has ", LoraConfig::kFile, ", but no ",
                 kWeights[0], " beside it");
  }
  SMELT_ASSIGN_OR_RETURN(Container container, weights->ends_with(".safetensors")
                                                  ? OpenSafetensors(file(*weights))
                                                  : OpenTorch(file(*weights)));
  return LoraAdapter{path, std::move(text), std::move(config), std::move(container)};
}

absl::StatusOr<std::optional<LoraAdapter>> TakeUnmerged(const std::string& folder,
                                                        Container& container) {
  // Copies of rows as they were before the training.
  constexpr std::string_view kOriginals = ".token_adapter.trainable_tokens_original";
  const auto is_part = [](const RawTensor& tensor) { return ParsePart(tensor.name).has_value(); };
  const auto first = std::ranges::find_if(container.tensors, is_part);
  if (first == container.tensors.end()) return std::optional<LoraAdapter>();
  const std::string file = (fs::path(folder) / LoraConfig::kFile).string();
  if (!NameExists(file)) {
    return Error(ErrorCode::kInvalidInput, Escape(folder, 80),
                 ": the weights hold a LoRA adapter that ", "was not merged (",
                 Escape(first->name, 100), "), and there is no ", LoraConfig::kFile,
                 " to say its lora_alpha; put the one that it was trained with "
                 "beside them, or merge it with peft (merge_and_unload)");
  }
  SMELT_ASSIGN_OR_RETURN(std::string text, ReadTextFile(file, kLimit));
  SMELT_ASSIGN_OR_RETURN(LoraConfig config, LoraConfig::Parse(text, folder));
  LoraAdapter adapter{folder, std::move(text), std::move(config), {}};
  const auto rest = std::stable_partition(container.tensors.begin(), container.tensors.end(),
                                          [&](const RawTensor& t) { return !is_part(t); });
  adapter.container.tensors.assign(rest, container.tensors.end());
  container.tensors.erase(rest, container.tensors.end());
  std::erase_if(container.tensors, [&](const RawTensor& tensor) {
    return tensor.name.find(kOriginals) != std::string::npos;
  });
  return adapter;
}

bool IsCopyOfBase(const RawTensor& tensor) { return tensor.name.ends_with(".base_layer.weight"); }

absl::StatusOr<LoraParts> ReadLoraParts(const LoraAdapter& adapter) {
  LoraParts parts;
  std::map<std::string, std::string_view> adapters;  // of each module
  for (const RawTensor& tensor : adapter.container.tensors) {
    if (IsOfOtherPart(tensor.name)) {
      parts.left_out.Add(tensor);
      continue;
    }
    const std::optional<PartName> name = ParsePart(tensor.name);
    if (name ? !HoldsWeights(tensor.dtype) : tensor.name.find(".lora_") != std::string::npos) {
      return Error(ErrorCode::kUnsupported, "tensor ", Escape(tensor.name), " (",
                   Name(tensor.dtype), ") of the adapter ", Escape(adapter.path, 80),
                   " is of a kind that is not merged");
    }
    if (!name) {
      parts.whole.push_back(&tensor);
      continue;
    }
    LoraModule& module = parts.modules[std::string(name->module)];
    const RawTensor*& place = name->bias ? module.bias : module.*(name->kind.place);
    const auto [it, added] = adapters.emplace(name->module, name->adapter);
    if (place != nullptr) return Twice(adapter, *place, tensor);
    if (!added && it->second != name->adapter) {
      return Error(ErrorCode::kUnsupported, "tensor ", Escape(tensor.name, 120),
                   " is of another adapter than the rest of its module (", Escape(it->second, 40),
                   "): which one is meant is not clear");
    }
    place = &tensor;
    module.embedding |= name->kind.embedding;
  }
  if (parts.modules.empty() && parts.whole.empty()) {
    return Error(ErrorCode::kInvalidInput, "the adapter ", Escape(adapter.path, 100),
                 parts.left_out.any() ? Cat(" has nothing for the text part, which alone is read: ",
                                            parts.left_out.ToText())
                                      : " has no tensors: it was saved without its weights");
  }
  for (const auto& [name, module] : parts.modules)
    SMELT_RETURN_IF_ERROR(CheckModule(adapter, name, module));
  return parts;
}

std::string FindLoraBase(const LoraAdapter& adapter) {
  const std::string name = adapter.config.Base();
  if (name.empty()) return "";
  const fs::path beside = fs::path(adapter.path) / name;
  for (const std::string& folder : {beside.lexically_normal().string(), name}) {
    if (IsFolder(folder)) return folder;
  }
  std::string in_cache = Cat(HubCache(), "/models--");
  for (const char c : name) in_cache += c == '/' ? "--" : std::string(1, c);
  if (!IsFolder(in_cache)) return "";
  const absl::StatusOr<ModelPlace> place = LocateModel(in_cache);
  return place.ok() ? place->path : "";
}

}  // namespace smelt
