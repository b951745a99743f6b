#include "lib/jobs/open_model.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string_view>
#include <utility>

#include "formats/model_folder.h"
#include "formats/ollama/store.h"
#include "formats/weight_index.h"
#include "lib/base/atomic_file.h"
#include "lib/base/folder.h"
#include "lib/base/status.h"
#include "lib/text/published/published_tokenizer.h"
#include "quant/simd.h"

namespace smelt {

namespace {

absl::StatusOr<ModelPlace> PlaceOfModel(const std::string& name) {
  SMELT_ASSIGN_OR_RETURN(const std::string path, ollama::ResolveModelArgument(name));
  return LocateModel(path);
}

/// A model of a store is what Ollama runs under its name: its adapters come first.
absl::Status AddStoredAdapters(const std::string& name, const Observer& observer,
                               std::vector<std::pair<std::string, double>>& adapters) {
  const std::optional<ollama::StoredModel> stored = ollama::FindStored(name);
  if (!stored) return absl::OkStatus();
  SMELT_ASSIGN_OR_RETURN(const std::vector<std::string> layers, ollama::AdaptersOf(*stored));
  if (layers.empty()) return absl::OkStatus();
  observer.Note(Cat(Escape(name, 60), " has ",
                    layers.size() == 1 ? "an adapter layer" : "adapter layers",
                    ", merged into the weights as they are read"));
  for (size_t i = 0; i < layers.size(); ++i)
    adapters.insert(adapters.begin() + static_cast<ptrdiff_t>(i), {layers[i], 1.0});
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> ResolveModel(const std::string& name) {
  SMELT_ASSIGN_OR_RETURN(ModelPlace place, PlaceOfModel(name));
  return std::move(place.path);
}

absl::StatusOr<std::string> ResolveVocabulary(const std::string& name) {
  return HasTokenizerFiles(name) ? name : ResolveModel(name);
}

absl::StatusOr<std::unique_ptr<ModelSource>> OpenModelByName(const std::string& name,
                                                             const OpenOptions& options,
                                                             const Observer& observer) {
  SMELT_RETURN_IF_ERROR(InitSimd());
  SMELT_ASSIGN_OR_RETURN(const ModelPlace place, PlaceOfModel(name));
  if (!place.note.empty()) observer.Note(place.note);
  OpenOptions all = options;
  SMELT_RETURN_IF_ERROR(AddStoredAdapters(name, observer, all.adapters));
  absl::StatusOr<OpenedModel> model = OpenModel(place.path, all);
  if (!model.ok() && CodeOf(model.status()) == ErrorCode::kInvalidInput && !NameExists(name)) {
    return Error(ErrorCode::kInvalidInput, std::string(model.status().message()),
                 "; if the store's copy is damaged, pull or import ", Escape(name, 60), " again");
  }
  SMELT_RETURN_IF_ERROR(model.status());
  for (const std::string& note : model->notes) observer.Note(note);
  for (const std::string& warning : model->warnings) observer.Warn(warning);
  return std::move(model->source);
}

OpenOptions WithAdapters(std::vector<std::pair<std::string, double>> adapters) {
  OpenOptions options;
  options.adapters = std::move(adapters);
  return options;
}

bool IsPartOfSource(const std::string& output, const std::string& source) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (fs::equivalent(output, source, error)) return true;
  const bool folder = IsFolder(source);
  const std::string beside = folder ? source : DirectoryOf(source);
  // Parts of a split GGUF lie beside its first one; nothing else beside a file belongs to it.
  const std::string file_name = source.substr(source.find_last_of('/') + 1);
  const std::string stem = file_name.substr(0, file_name.find("-00001-of-"));
  const absl::StatusOr<std::vector<std::string>> names = ListFolder(beside);
  if (!names.ok()) return false;
  for (const std::string& name : *names) {
    if (!folder && !(name.starts_with(stem + "-0") && name.find("-of-") != std::string::npos))
      continue;
    std::error_code ignored;
    if (fs::equivalent(output, fs::path(beside) / name, ignored) &&
        (!folder || !name.ends_with(".gguf"))) {
      return true;
    }
  }
  return false;
}

}  // namespace smelt
