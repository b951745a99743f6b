// How Ollama is to write a model's conversations, where neither a Modelfile nor a base says it.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "formats/gguf.h"
#include "formats/ollama/model_settings.h"
#include "lib/jobs/import_source.h"
#include "smelt/observer.h"

namespace smelt {

struct ImportedTemplate {
  std::string format;  ///< name of the recognised chat format; else empty
  /// Template, stop words, renderer, parser and least_ollama; below what the Modelfile sets.
  ollama::ModelSettings settings;
};

/// For the model `file`, called `name`: the renderer and parser that Ollama itself gives its
/// architecture, else the known chat format that its own chat template is of. Says what was found
/// or tried; `required`: an error where the model gets no template.
absl::StatusOr<ImportedTemplate> TemplateFor(const GgufFile& file, const std::string& name,
                                             const ImportSource& source, bool required,
                                             const Observer& observer);

}  // namespace smelt
