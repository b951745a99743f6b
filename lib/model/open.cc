#include "lib/model/open.h"

#include <filesystem>
#include <utility>

#include "formats/gguf.h"
#include "formats/model_folder.h"
#include "formats/safetensors.h"
#include "formats/what_is_there.h"
#include "lib/base/folder.h"
#include "lib/base/stand_in.h"
#include "lib/base/status.h"
#include "lib/model/adapter.h"
#include "lib/model/gguf_source.h"
#include "lib/model/lora.h"
#include "lib/model/lora_gguf.h"
#include "lib/model/open_adapters.h"
#include "lib/model/open_folder.h"
#include "smelt/text.h"

namespace smelt {
namespace {

namespace fs = std::filesystem;

/// What a file that is no GGUF is instead.
absl::Status NotAModel(const Storage& file) {
  SMELT_ASSIGN_OR_RETURN(const std::string start, ReadStart(file, kStandInBytes));
  SMELT_RETURN_IF_ERROR(RefuseStandIn(file.name(), start));
  const std::string name = Escape(file.name());
  SMELT_RETURN_IF_ERROR(RefuseOtherForms(file.name()));
  if (start.empty()) return Error(ErrorCode::kInvalidInput, name, ": the file is empty");
  const fs::path path(file.name());
  if (path.extension() != ".json") SMELT_RETURN_IF_ERROR(RefuseText(file.name(), start));
  for (const std::string_view ending : {".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".json"}) {
    if (path.extension() != ending) continue;
    const std::string folder = path.has_parent_path() ? path.parent_path().string() : ".";
    std::error_code error;
    if (fs::exists(fs::path(folder) / "config.json", error)) {
      return Error(ErrorCode::kUsage, name,
                   ": one file of a model; name the folder that holds it with config.json: ",
                   ShellQuoted(folder));
    }
    return Error(ErrorCode::kUsage, name,
                 ": one file of a model, without the config.json that says which; download the "
                 "whole folder and name that");
  }
  if (start.starts_with("PK\x03\x04")) {
    return Error(ErrorCode::kInvalidInput, name,
                 ": is a zip archive; unpack it, and name what is in it");
  }
  return Error(ErrorCode::kInvalidInput, name, " is neither a model directory nor a GGUF file");
}

/// The base of an adapter, with it merged.
absl::StatusOr<OpenedModel> OpenAdapted(const std::string& path, const std::string& base,
                                        OpenOptions options) {
  options.base.clear();
  options.adapters.insert(options.adapters.begin(), {path, 1.0});
  SMELT_ASSIGN_OR_RETURN(const ModelPlace place, LocateModel(base));
  SMELT_ASSIGN_OR_RETURN(OpenedModel opened, OpenModel(place.path, options));
  opened.notes.insert(opened.notes.begin(), Cat("the base is ", Escape(place.path, 120)));
  return opened;
}

/// That of an adapter's folder, which is named or found.
absl::StatusOr<OpenedModel> OpenAdapted(const std::string& path, const OpenOptions& options) {
  SMELT_ASSIGN_OR_RETURN(const LoraAdapter adapter, OpenLora(path));
  const std::string base = options.base.empty() ? FindLoraBase(adapter) : options.base;
  if (!base.empty() && !(IsFolder(base) && HoldsOnlyAdapter(base)))
    return OpenAdapted(path, base, options);
  const std::string name = adapter.config.Base();
  return Error(ErrorCode::kNotFound, Escape(path, 100), " holds a LoRA adapter",
               name.empty() ? std::string() : Cat(" of ", Escape(name, 100)),
               ", no whole model, and its base is not on this machine; download the base and name "
               "its folder with --base");
}

}  // namespace

absl::StatusOr<OpenedModel> OpenModel(const std::string& path, const OpenOptions& given) {
  if (!Exists(path)) return Error(ErrorCode::kNotFound, Escape(path), " does not exist");
  OpenOptions options = given;
  for (auto& adapter : options.adapters) {
    SMELT_ASSIGN_OR_RETURN(const ModelPlace place, LocateModel(adapter.first));
    adapter.first = place.path;
  }
  if (IsFolder(path) && HoldsOnlyAdapter(path)) return OpenAdapted(path, options);
  if (IsFolder(path) && !options.base.empty()) {
    return Error(ErrorCode::kUsage, Escape(path),
                 " is no adapter's folder: a base is only for those");
  }
  if (IsFolder(path)) return OpenFolder(path, options);
  SMELT_ASSIGN_OR_RETURN(const std::shared_ptr<Storage> storage, OpenFile(path));
  if (!LooksLikeGguf(*storage)) return NotAModel(*storage);
  if (options.keep_draft) {
    return Error(ErrorCode::kUsage, Escape(path),
                 " is a GGUF: whether it has a draft head was decided when it was made from the "
                 "published folder");
  }
  SMELT_ASSIGN_OR_RETURN(GgufFile file, OpenGguf(path));
  if (!options.base.empty() && IsGgufLora(file)) return OpenAdapted(path, options.base, options);
  if (!options.base.empty()) {
    return Error(ErrorCode::kUsage, Escape(path), " is no adapter: a base is only for those");
  }
  SMELT_RETURN_IF_ERROR(CheckIsModel(file));
  OpenedModel opened;
  opened.source = MakeGgufSource(path, std::move(file));
  SMELT_RETURN_IF_ERROR(AdaptResult(options, true, opened));
  return opened;
}

absl::StatusOr<OpenedModel> OpenMatrices(const std::string& path) {
  SMELT_ASSIGN_OR_RETURN(Container container, OpenSafetensors(path));
  std::vector<RecipeTensor> tensors;
  for (RawTensor& raw : container.tensors) {
    if (raw.shape.empty() || raw.shape.size() > 4) {
      return Error(ErrorCode::kUnsupported, "tensor ", Escape(raw.name), " has ", raw.shape.size(),
                   " dimensions, expected 1 to 4");
    }
    RecipeTensor tensor;
    tensor.name = raw.name;
    tensor.shape.dims = static_cast<int>(raw.shape.size());
    for (size_t i = 0; i < raw.shape.size(); ++i)
      tensor.shape.ne[i] = raw.shape[raw.shape.size() - 1 - i];
    const uint64_t columns = raw.shape.back();
    tensor.recipe.leaves.emplace_back(
        RawLeaf{.tensor = std::move(raw), .columns = columns, .transposed = false});
    tensors.push_back(std::move(tensor));
  }
  OpenedModel opened;
  opened.warnings = container.warnings;
  SMELT_ASSIGN_OR_RETURN(opened.source, MakeRecipeSource(path, Metadata(), std::move(tensors),
                                                         std::move(container.files), ""));
  return opened;
}

}  // namespace smelt
