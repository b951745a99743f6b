// How Ollama is to write a model's conversations, where neither a Modelfile nor a base says it.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "formats/ollama/model_settings.h"
#include "lib/base/metadata.h"
#include "lib/jobs/import_source.h"
#include "smelt/observer.h"

namespace smelt {

struct ImportedTemplate {
  std::string format;  ///< name of the recognised chat format; else empty
  /// Template, stop words, renderer, parser and least_ollama; below what the Modelfile sets.
  ollama::ModelSettings settings;
};

/// For the model with these keys, called `name`: the renderer and parser that Ollama itself gives
/// its architecture, else the known chat format that its own chat template is of. Says what was
/// found or tried; where `options` require a template, an error when the model gets none.
absl::StatusOr<ImportedTemplate> TemplateFor(const Metadata& metadata, const std::string& name,
                                             const ImportSource& source,
                                             const ImportOptions& options,
                                             const Observer& observer);

/// Whether the Ollama that was asked for (empty: any) can use what a Modelfile says. Errors:
/// kUnsupported; what it only passes over is a warning.
absl::Status CheckForOllama(const ollama::ModelSettings& settings, const std::string& version,
                            const Observer& observer);

}  // namespace smelt
