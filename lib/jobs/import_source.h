// What an import is made from, as its source and the Modelfile say.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/ollama/manifest.h"
#include "formats/ollama/model_settings.h"
#include "smelt/import.h"

namespace smelt {

struct ImportSource {
  std::string model;  ///< a GGUF, a model folder or an archive
  std::string base;   ///< short name of the store's model whose weights `model` is; else empty
  ollama::Manifest inherited;         ///< of `base`
  std::vector<std::string> adapters;  ///< folders or files, to be merged
  ollama::ModelSettings settings;     ///< also from a folder's licence and generation_config.json

  /// What to call the model in messages.
  const std::string& name() const { return base.empty() ? model : base; }
};

/// `store`: where names are looked up. Paths of the Modelfile are relative to its folder; a path
/// that exists is preferred to a name. kNotFound names both.
absl::StatusOr<ImportSource> FindImportSource(const ImportOptions& options,
                                              const std::string& store, const Observer& observer);

}  // namespace smelt
