#include "lib/model/lora.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <optional>
#include <utility>

#include "formats/model_folder.h"
#include "formats/safetensors.h"
#include "formats/torch/torch.h"
#include "lib/base/ascii.h"
#include "lib/base/folder.h"
#include "lib/base/status.h"
#include "lib/base/storage.h"
#include "lib/model/alternatives.h"
#include "lib/model/merged_matrix.h"
#include "lib/model/published_names.h"
#include "quant/name_pattern.h"

namespace smelt {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kConfig = "adapter_config.json";
constexpr std::string_view kWeights[] = {"adapter_model.safetensors", "adapter_model.bin"};
constexpr uint64_t kLimit = 16 << 20;

/// Members of which only the value that switches them off is merged.
constexpr std::string_view kSwitches[] = {
    "use_qalora",        "use_bdlora",  "layer_replication", "alora_invocation_tokens",
    "megatron_config",   "lora_bias",   "velora_config",     "kasa_config",
    "monteclora_config", "arrow_config"};
/// Ways to begin that change the base itself.
constexpr std::string_view kChangedBases[] = {"pissa", "olora", "corda", "loftq", "lora_ga"};

bool IsOff(const JsonValue* value) {
  if (value == nullptr || value->is_null()) return true;
  if (const bool* flag = value->as_bool()) return !*flag;
  return (value->as_array() != nullptr && value->as_array()->empty()) ||
         (value->as_object() != nullptr && value->as_object()->empty());
}

absl::Status CheckKind(const LoraAdapter& adapter) {
  const auto bad = [&](std::string_view key, const std::string& text, std::string_view why) {
    return Error(ErrorCode::kUnsupported, Escape(adapter.path, 80), "/", kConfig, ": ", key, " is ",
                 Escape(text, 40), ", ", why, "; merge it with peft (merge_and_unload)");
  };
  const JsonValue* type = adapter.config.FindNonNull("peft_type");
  if (type != nullptr && (type->as_string() == nullptr || UpperAscii(*type->as_string()) != "LORA"))
    return bad("peft_type", type->ToText(), "and only LORA is merged");
  for (const std::string_view key : kSwitches) {
    const JsonValue* value = adapter.config.Find(key);
    if (!IsOff(value)) return bad(key, value->ToText(), "which is not merged");
  }
  const JsonValue* start = adapter.config.FindNonNull("init_lora_weights");
  if (start != nullptr && start->as_string() != nullptr) {
    const std::string name = LowerAscii(*start->as_string());
    for (const std::string_view changed : kChangedBases) {
      if (name.starts_with(changed))
        return bad("init_lora_weights", name, "so that its base is not the published one");
    }
  }
  return absl::OkStatus();
}

/// lora_alpha, or what alpha_pattern says of the module, as PEFT finds it.
absl::StatusOr<double> Alpha(const LoraAdapter& adapter, std::string_view module) {
  const auto bad = [&](std::string_view key, const std::string& text, std::string_view what) {
    return Error(ErrorCode::kInvalidInput, Escape(adapter.path, 80), "/", kConfig, ": ", key, " ",
                 Escape(text, 60), " is ", what);
  };
  constexpr std::string_view kPrefix = "base_model.model.";
  if (module.starts_with(kPrefix)) module.remove_prefix(kPrefix.size());
  if (const JsonValue* patterns = adapter.config.FindNonNull("alpha_pattern")) {
    if (patterns->as_object() == nullptr)
      return bad("alpha_pattern", patterns->ToText(), "no dictionary");
    for (const auto& [key, value] : *patterns->as_object()) {
      const auto pattern = NamePattern::Compile(Cat("^(?:.*\\.)?(?:", key, ")$"));
      const auto in = pattern.ok() ? pattern->In(module) : absl::StatusOr<bool>(pattern.status());
      if (!in.ok()) return bad("alpha_pattern", key, "no regular expression that can be used");
      if (!*in) continue;
      if (!value.as_double()) return bad("alpha_pattern", value.ToText(), "no number");
      return *value.as_double();
    }
  }
  const JsonValue* alpha = adapter.config.FindNonNull("lora_alpha");
  if (alpha == nullptr) return 8;  // of PEFT's LoraConfig
  if (!alpha->as_double()) return bad("lora_alpha", alpha->ToText(), "no number");
  return *alpha->as_double();
}

/// The matrices of one module.
struct Module {
  const RawTensor *a = nullptr, *b = nullptr, *magnitude = nullptr;
  bool embedding = false;
};

/// "MODULE.lora_A[.ADAPTER][.weight]": the module, and which matrix it is.
struct PartName {
  std::string module, part;
};
std::optional<PartName> ParsePart(std::string_view name) {
  const size_t at = name.find(".lora_");
  if (at == name.npos) return std::nullopt;
  const size_t end = std::min(name.find('.', at + 1), name.size());
  return PartName{std::string(name.substr(0, at)), std::string(name.substr(at + 1, end - at - 1))};
}

class Merger {
 public:
  Merger(const Family& family, const LoraAdapter& adapter, double strength, Container& base)
      : family_(family), names_(family), adapter_(adapter), strength_(strength), base_(base) {
    for (size_t i = 0; i < base.tensors.size(); ++i)
      index_.emplace(names_.Bare(base.tensors[i].name).text, i);
  }

  absl::Status Run(std::vector<std::string>& notes) {
    std::map<std::string, Module> modules;
    for (const RawTensor& tensor : adapter_.container.tensors) {
      const std::optional<PartName> part = ParsePart(tensor.name);
      if (!part) {
        SMELT_RETURN_IF_ERROR(Replace(tensor));
        continue;
      }
      SMELT_RETURN_IF_ERROR(Take(*part, tensor, modules[part->module]));
    }
    if (modules.empty() && replaced_ == 0) {
      return Error(ErrorCode::kInvalidInput, "the adapter ", Escape(adapter_.path, 100),
                   " has no tensors: it was saved without its weights");
    }
    for (const auto& [name, module] : modules) SMELT_RETURN_IF_ERROR(Merge(name, module));
    base_.files.insert(base_.files.end(), adapter_.container.files.begin(),
                       adapter_.container.files.end());
    notes.push_back(Cat("the adapter ", Escape(adapter_.path, 80), " is merged into ",
                        modules.size(), " matrices",
                        strength_ == 1 ? "" : Cat(", ", strength_, " times as strong"),
                        replaced_ == 0 ? "" : Cat("; ", replaced_, " tensors are its own")));
    return absl::OkStatus();
  }

 private:
  absl::Status Take(const PartName& part, const RawTensor& tensor, Module& module) const {
    constexpr std::string_view kEmbedding = "lora_embedding_";
    const RawTensor** place = nullptr;
    if (part.part == "lora_A" || part.part == "lora_embedding_A") place = &module.a;
    if (part.part == "lora_B" || part.part == "lora_embedding_B") place = &module.b;
    if (part.part == "lora_magnitude_vector") place = &module.magnitude;
    const bool floats = tensor.dtype == RawType::kF32 || tensor.dtype == RawType::kF16 ||
                        tensor.dtype == RawType::kBF16 || tensor.dtype == RawType::kF64;
    if (place == nullptr || !floats) {
      return Error(ErrorCode::kUnsupported, "tensor ", Escape(tensor.name), " (",
                   Name(tensor.dtype), ") of the adapter ", Escape(adapter_.path, 80),
                   " is of a kind that is not merged");
    }
    if (*place != nullptr) {
      return Error(ErrorCode::kUnsupported, "the adapter ", Escape(adapter_.path, 80), " has ",
                   Escape((*place)->name, 100), " and ", Escape(tensor.name, 100),
                   ": which of two is meant is not clear");
    }
    *place = &tensor;
    module.embedding |= part.part.starts_with(kEmbedding);
    return absl::OkStatus();
  }

  /// A tensor that takes the place of the base's.
  absl::Status Replace(const RawTensor& tensor) {
    const BareName name_without = names_.Bare(tensor.name);
    if (name_without.replaced)
      return absl::OkStatus();  // what the adapter's own takes the place of
    const std::string& bare = name_without.text;
    if (!names_.IsWanted(bare)) {
      return Error(ErrorCode::kUnsupported, "tensor ", Escape(tensor.name), " of the adapter ",
                   Escape(adapter_.path, 80),
                   " has no place in the base: leaving it out would "
                   "change the model");
    }
    ++replaced_;
    const auto [it, added] = index_.try_emplace(bare, base_.tensors.size());
    if (added) {
      base_.tensors.push_back(tensor);
      base_.tensors.back().name = bare;
      return absl::OkStatus();
    }
    std::string name = base_.tensors[it->second].name;
    base_.tensors[it->second] = tensor;
    base_.tensors[it->second].name = std::move(name);
    return absl::OkStatus();
  }

  absl::Status Merge(const std::string& name, const Module& module) {
    if (module.a == nullptr || module.b == nullptr) {
      return Error(ErrorCode::kInvalidInput, "the adapter ", Escape(adapter_.path, 80), " has no ",
                   module.a == nullptr ? "lora_A" : "lora_B", " for ", Escape(name, 100));
    }
    const std::string bare = names_.Bare(Cat(name, ".weight")).text;
    const auto it = index_.find(bare);
    if (it == index_.end()) {
      return Error(ErrorCode::kInvalidInput, "tensor ", Escape(module.a->name), " of the adapter ",
                   Escape(adapter_.path, 80), ": the base has no ", Escape(bare, 80),
                   ": is this the base that it was trained on?");
    }
    LowRank change;
    SMELT_ASSIGN_OR_RETURN(change.a, StoredMatrix::Make(*module.a));
    SMELT_ASSIGN_OR_RETURN(change.b, StoredMatrix::Make(*module.b));
    if (module.magnitude == nullptr && !IsOff(adapter_.config.Find("use_dora"))) {
      return Error(ErrorCode::kInvalidInput, "the adapter ", Escape(adapter_.path, 80),
                   " says use_dora and has no lora_magnitude_vector for ", Escape(name, 100));
    }
    if (module.magnitude != nullptr) {
      SMELT_ASSIGN_OR_RETURN(change.magnitudes, StoredMatrix::Make(*module.magnitude, 1));
    }
    change.turned = module.embedding || IsStoredTurned(bare);
    SMELT_ASSIGN_OR_RETURN(const double alpha, Alpha(adapter_, name));
    const auto rank = static_cast<double>(std::max<uint64_t>(change.a.rows(), 1));
    const bool rs = !IsOff(adapter_.config.Find("use_rslora"));
    change.scale = static_cast<float>(alpha / (rs ? std::sqrt(rank) : rank) * strength_);
    if (!std::isfinite(change.scale)) {
      return Error(ErrorCode::kInvalidInput, Escape(adapter_.path, 80), "/", kConfig,
                   ": lora_alpha and the adapter's strength make no finite scale");
    }
    RawTensor& base = base_.tensors[it->second];
    SMELT_ASSIGN_OR_RETURN(auto merged, MergeLowRank(base, std::move(change)));
    base.dtype = RawType::kF32;
    base.strides = ContiguousStrides(base.shape);
    base.computed = std::move(merged);
    return absl::OkStatus();
  }

  /// Whether the family stores this matrix as (inputs, outputs), like GPT-2's Conv1D. What
  /// fan_in_fan_out says is the same for all modules and wrong for some.
  bool IsStoredTurned(const std::string& bare) const {
    for (const TensorRule& rule : family_.tensors) {
      if (rule.op != TensorOp::kTranspose) continue;
      for (const std::string_view source : Alternatives(rule.source)) {
        const std::string pattern = names_.Bare(source).text;
        const size_t star = pattern.find('*');
        const std::string_view before = std::string_view(pattern).substr(0, star);
        if (star == std::string::npos
                ? bare == pattern
                : bare.starts_with(before) && bare.ends_with(pattern.substr(star + 1)))
          return true;
      }
    }
    return false;
  }

  const Family& family_;
  PublishedNames names_;
  const LoraAdapter& adapter_;
  const double strength_;
  Container& base_;
  TextMap<std::string, size_t> index_;
  uint64_t replaced_ = 0;
};

/// Where transformers keeps what it has downloaded.
std::string HubCache() {
  if (const char* cache = std::getenv("HF_HUB_CACHE")) return cache;
  if (const char* home = std::getenv("HF_HOME")) return Cat(home, "/hub");
  const char* home = std::getenv("HOME");
  return home == nullptr ? "" : Cat(home, "/.cache/huggingface/hub");
}

}  // namespace

std::string LoraAdapter::Base() const {
  const JsonValue* base = config.FindNonNull("base_model_name_or_path");
  return base == nullptr || base->as_string() == nullptr ? "" : *base->as_string();
}

absl::StatusOr<LoraAdapter> OpenLora(const std::string& path) {
  LoraAdapter adapter{.path = path, .texts = "", .config = JsonValue(), .container = {}};
  const auto file = [&](std::string_view name) { return (fs::path(path) / name).string(); };
  if (!IsFolder(path) || !NameExists(file(kConfig))) {
    return Error(ErrorCode::kNotFound, Escape(path), " is no adapter: expected a folder with ",
                 kConfig, " and ", kWeights[0]);
  }
  SMELT_ASSIGN_OR_RETURN(adapter.texts, ReadTextFile(file(kConfig), kLimit));
  SMELT_ASSIGN_OR_RETURN(adapter.config,
                         ParseJsonValue(adapter.texts, kConfig, {.allow_nan = true}));
  SMELT_RETURN_IF_ERROR(CheckKind(adapter));
  const auto* const weights =
      std::ranges::find_if(kWeights, [&](std::string_view name) { return NameExists(file(name)); });
  if (weights == std::end(kWeights)) {
    return Error(ErrorCode::kNotFound, Escape(path), " has ", kConfig, ", but no ", kWeights[0],
                 " beside it");
  }
  SMELT_ASSIGN_OR_RETURN(adapter.container, weights->ends_with(".safetensors")
                                                ? OpenSafetensors(file(*weights))
                                                : OpenTorch(file(*weights)));
  return adapter;
}

absl::Status MergeLora(const Family& family, const LoraAdapter& adapter, double strength,
                       Container& base, std::vector<std::string>& notes) {
  return Merger(family, adapter, strength, base).Run(notes);
}

std::string FindLoraBase(const LoraAdapter& adapter) {
  const std::string name = adapter.Base();
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
