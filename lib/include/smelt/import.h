// Into an Ollama store, so that the real Ollama runs the model.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "smelt/convert.h"
#include "smelt/export.h"
#include "smelt/observer.h"

namespace smelt {

struct ImportOptions {
  /// A GGUF (also a split one), a model folder, an archive, or the name of a model in the store;
  /// empty: what the Modelfile's FROM says.
  std::string source;
  std::string name;       ///< [host/][namespace/]model[:tag]
  std::string store;      ///< empty: OLLAMA_MODELS or the default folder
  std::string modelfile;  ///< path; empty: none
  /// A Jinja file: the model's chat template in the place of its own; empty: its own. A GGUF is
  /// rewritten for it.
  std::string chat_template = {};
  bool copy = false;  ///< never share or link the file's bytes
  /// Refuse a model that has no chat template, or one of no known format, unless the Modelfile
  /// gives one.
  bool require_template = false;
  /// Keep the Modelfile's ADAPTER as a layer of its own, as Ollama did before 0.34, instead of
  /// merging it into the weights.
  bool adapter_layer = false;
  /// "0.6", "0.32", "0.34": refuse what this Ollama could not use; empty: any. What is written is
  /// the same.
  std::string for_ollama = {};
  /// How weights become a GGUF (`source` and `output` are not used). A GGUF of one file stays as it
  /// is, and parts are joined, unless `convert_ggufs`.
  ConvertOptions conversion = {};
  bool convert_ggufs = false;
};

struct ImportResult {
  std::string name, manifest, blob, digest;
  std::string how;  ///< "reflink", "hard link", "copy", "conversion", "present"
  /// The format that the model's own chat template was recognised as; empty where the template is
  /// the Modelfile's, built into Ollama, or of no known format.
  std::string chat_format = {};
  uint64_t bytes = 0;
  std::optional<ConvertResult> conversion;
};

/// The name appears in the store when everything behind it is there: blobs first, the manifest
/// last. Of a failed import nothing stays.
SMELT_EXPORT absl::StatusOr<ImportResult> Import(const ImportOptions& options,
                                                 const Observer& observer = {});

}  // namespace smelt
