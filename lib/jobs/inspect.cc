// What a file, directory or store name holds.
#include "smelt/inspect.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <type_traits>
#include <utility>
#include <variant>

#include "formats/gguf.h"
#include "formats/ollama/store.h"
#include "formats/safetensors.h"
#include "formats/torch/legacy.h"
#include "formats/torch/torch.h"
#include "formats/weights_directory.h"
#include "lib/base/folder.h"
#include "lib/base/guard.h"
#include "lib/base/job_scope.h"
#include "lib/base/json.h"
#include "lib/base/status.h"
#include "lib/jobs/open_model.h"
#include "lib/model/recipe.h"

namespace smelt {
namespace {

/// Elements of an array that are shown; vocabularies have a hundred thousand.
constexpr size_t kShownElements = 8;

constexpr std::string_view kTorchFormat = "pytorch";

std::string ToJson(const std::string& text) { return JsonQuote(text); }
std::string ToJson(bool value) { return value ? "true" : "false"; }
template <typename T>
requires std::is_arithmetic_v<T> std::string ToJson(T value) {
  if constexpr (std::is_floating_point_v<T>) {
    if (!std::isfinite(value)) return JsonQuote(Cat(static_cast<double>(value)));
  }
  char text[64];  // the shortest form that reads back as the same number of this type
  const auto end = std::to_chars(text, text + sizeof(text), value).ptr;
  return std::string(text, end);
}
template <typename T>
std::string ToJson(const std::vector<T>& values) {
  std::string out;
  for (size_t i = 0; i < std::min(values.size(), kShownElements); ++i) {
    out += Cat(i == 0 ? "[" : ",", ToJson(static_cast<T>(values[i])));
  }
  return out.empty() ? "[]" : out + "]";
}

InspectResult::Key KeyOf(const Metadata::Entry& entry) {
  const MetadataValue& value = entry.value;
  InspectResult::Key key;
  key.key = entry.key;
  key.type = Name(value.element_type());
  if (value.is_array()) key.type += Cat("[", value.size(), "]");
  const auto* bytes = value.get_if<std::vector<uint8_t>>();
  if (bytes != nullptr && value.element_type() == ValueType::kBool) {
    key.json = ToJson(std::vector<bool>(bytes->begin(), bytes->end()));
  } else {
    key.json = std::visit([](const auto& stored) { return ToJson(stored); }, value.storage());
  }
  return key;
}

/// ggml order without trailing extents beyond `dims`.
std::vector<uint64_t> Extents(const std::array<uint64_t, 4>& ne, int dims) {
  return {ne.begin(), ne.begin() + dims};
}

void AddUp(InspectResult& result) {
  std::map<std::string, TypeTotal> totals;
  for (const InspectTensor& tensor : result.tensors) {
    TypeTotal& total = totals[tensor.type];
    total.type = tensor.type;
    uint64_t elements = 1;
    for (uint64_t extent : tensor.shape) elements *= extent;
    ++total.tensors;
    total.elements += elements;
    total.bytes += tensor.bytes;
  }
  for (auto& [type, total] : totals) {
    result.parameters += total.elements;
    result.bytes += total.bytes;
    result.totals.push_back(std::move(total));
  }
  std::stable_sort(result.totals.begin(), result.totals.end(),
                   [](const TypeTotal& a, const TypeTotal& b) { return a.bytes > b.bytes; });
  if (result.parameters > 0) {
    result.bits_per_weight =
        8.0 * static_cast<double>(result.bytes) / static_cast<double>(result.parameters);
  }
}

/// "archive/data/0": without the file's own name before it.
std::string StorageName(const Storage& storage, const Container& container) {
  for (const auto& file : container.files) {
    const std::string prefix = Cat(file->name(), ":");
    if (storage.name().starts_with(prefix)) return storage.name().substr(prefix.size());
  }
  return storage.name();
}

/// Where the tensors of a PyTorch archive lie. `result.tensors` are the container's.
void AddStorages(const Container& container, InspectResult& result) {
  std::map<const Storage*, size_t> known;
  for (size_t i = 0; i < container.tensors.size(); ++i) {
    const RawTensor& tensor = container.tensors[i];
    const auto [at, fresh] = known.emplace(tensor.storage.get(), result.storages.size());
    if (fresh) {
      result.storages.push_back(
          {StorageName(*tensor.storage, container), tensor.storage->size(), 0});
    }
    InspectStorage& storage = result.storages[at->second];
    ++storage.tensors;
    result.tensors[i].storage = storage.name;
    result.tensors[i].offset = tensor.offset;
    if (!tensor.contiguous()) result.tensors[i].strides = tensor.strides;
  }
}

void FromContainer(const Container& container, std::string_view format, const Observer& observer,
                   InspectResult& result) {
  for (const std::string& note : container.notes) observer.Note(note);
  for (const std::string& warning : container.warnings) observer.Warn(warning);
  result.format = format;
  for (const auto& [key, value] : container.metadata) {
    result.metadata.push_back({key, "string", JsonQuote(value)});
  }
  for (const RawTensor& tensor : container.tensors) {
    result.tensors.push_back({.name = tensor.name,
                              .type = std::string(Name(tensor.dtype)),
                              .recipe = "",
                              .shape = tensor.shape,
                              .bytes = tensor.elements() * BitsOf(tensor.dtype) / 8});
  }
  if (format == kTorchFormat) AddStorages(container, result);
}

/// What there is to show of a refused archive goes to whoever asked for it; the error comes back.
absl::Status FromTorchFile(const std::shared_ptr<Storage>& file, const InspectOptions& options,
                           const Observer& observer, InspectResult& result) {
  TorchListing listing = ListTorch(file);
  if (listing.container.files.empty()) listing.container.files.push_back(file);
  FromContainer(listing.container, kTorchFormat, observer, result);
  for (PickleRefusal& refusal : listing.refused) {
    result.refused.push_back(
        {std::move(refusal.name), std::move(refusal.operation), refusal.offset});
  }
  const bool something = !result.tensors.empty() || !result.refused.empty();
  if (!listing.status.ok() && something && options.on_refused) {
    AddUp(result);
    options.on_refused(result);
  }
  return listing.status;
}

void FromGguf(const GgufFile& file, InspectResult& result) {
  result.format = "gguf";
  for (const Metadata::Entry& entry : file.metadata.entries()) {
    result.metadata.push_back(KeyOf(entry));
  }
  for (const GgufTensor& tensor : file.tensors) {
    result.tensors.push_back({.name = tensor.name,
                              .type = std::string(Info(tensor.type).name),
                              .recipe = "",
                              .shape = Extents(tensor.ne, tensor.dims),
                              .bytes = tensor.bytes});
  }
}

uint32_t CodeBits(const TensorInfo& tensor) {
  return tensor.recipe == nullptr ? 0 : tensor.recipe->code_bits();
}

/// "BF16", or what its values are computed from: "GPTQ, 4 bits, groups of 128".
std::string StoredType(const TensorInfo& tensor) {
  return CodeBits(tensor) == 0 ? std::string(Info(tensor.type).name)
                               : tensor.recipe->computed_from();
}

/// Of codes without their scales.
uint64_t StoredBytes(const TensorInfo& tensor) {
  if (const uint64_t bits = CodeBits(tensor); bits != 0 && !Info(tensor.type).quantized)
    return (tensor.shape.elements() * bits + 7) / 8;
  return RowBytes(tensor.type, tensor.shape.columns()).value_or(0) * tensor.shape.rows();
}

absl::Status FromDirectory(const std::string& path, bool recipes, const Observer& observer,
                           InspectResult& result) {
  SMELT_ASSIGN_OR_RETURN(const std::unique_ptr<ModelSource> source,
                         OpenModelByName(path, OpenOptions(), observer));
  result.format = "model directory";
  for (const Metadata::Entry& entry : source->metadata().entries()) {
    result.metadata.push_back(KeyOf(entry));
  }
  for (const TensorInfo& tensor : source->tensors()) {
    result.tensors.push_back(
        {.name = tensor.name,
         .type = StoredType(tensor),
         .recipe = recipes && tensor.recipe != nullptr ? tensor.recipe->ToText() : "",
         .shape = Extents(tensor.shape.ne, tensor.shape.dims),
         .bytes = StoredBytes(tensor)});
  }
  return absl::OkStatus();
}

/// The weights of a folder without a configuration that says what they mean.
absl::Status FromWeights(const std::string& path, const Observer& observer, InspectResult& result) {
  SMELT_ASSIGN_OR_RETURN(const WeightsForm form, FindWeights(path));
  for (const std::string& note : form.notes) observer.Note(note);
  SMELT_ASSIGN_OR_RETURN(const Container container, OpenWeights(path, form));
  const bool torch =
      form.kind == WeightsKind::kTorch || form.kind == WeightsKind::kConsolidatedTorch;
  FromContainer(container, torch ? kTorchFormat : "safetensors", observer, result);
  return absl::OkStatus();
}

enum class FileFormat { kGguf, kTorch, kSafetensors };

/// By the first bytes, where they say it; else by the name.
FileFormat FormatOf(const Storage& file, const std::string& path) {
  if (path.ends_with(".gguf") || LooksLikeGguf(file)) return FileFormat::kGguf;
  if (path.ends_with(".safetensors")) return FileFormat::kSafetensors;
  for (std::string_view ending : {".bin", ".pt", ".pth", ".ckpt"}) {
    if (path.ends_with(ending)) return FileFormat::kTorch;
  }
  const absl::StatusOr<std::string> start = ReadStart(file, 4);
  return start.ok() && (*start == "PK\x03\x04" || LooksLikePickle(*start))
             ? FileFormat::kTorch
             : FileFormat::kSafetensors;
}

absl::Status FromPath(const std::string& path, const InspectOptions& options,
                      const Observer& observer, InspectResult& result) {
  if (IsFolder(path)) {
    if (Exists(path + "/config.json") || Exists(path + "/params.json")) {
      return FromDirectory(path, options.recipes, observer, result);
    }
    return FromWeights(path, observer, result);
  }
  SMELT_ASSIGN_OR_RETURN(std::shared_ptr<Storage> file, OpenFile(path));
  switch (FormatOf(*file, path)) {
    case FileFormat::kGguf: {
      SMELT_ASSIGN_OR_RETURN(const GgufFile gguf, OpenGguf(path));
      FromGguf(gguf, result);
      break;
    }
    case FileFormat::kTorch: {
      return FromTorchFile(file, options, observer, result);
    }
    case FileFormat::kSafetensors: {
      SMELT_ASSIGN_OR_RETURN(const Container container, ReadSafetensors(std::move(file)));
      FromContainer(container, "safetensors", observer, result);
      break;
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<InspectResult> Inspect(const InspectOptions& options, const Observer& watcher) try {
  const JobScope job(watcher);
  const Observer& observer = job.observer();
  SMELT_ASSIGN_OR_RETURN(const std::string path, ResolveModel(options.path));
  InspectResult result;
  result.path = options.path;
  SMELT_RETURN_IF_ERROR(FromPath(path, options, observer, result));
  if (const auto stored = ollama::FindStored(options.path)) {
    SMELT_ASSIGN_OR_RETURN(const std::vector<std::string> adapters, ollama::AdaptersOf(*stored));
    for (const std::string& adapter : adapters) {
      observer.Note(Cat("the base of ", Escape(options.path, 60), " alone: its adapter layer is ",
                        Escape(adapter)));
    }
  }
  AddUp(result);
  return result;
} catch (...) {
  return CaughtError();
}

}  // namespace smelt
