// Into an Ollama store, so that the real Ollama runs the model.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "smelt/export.h"
#include "smelt/observer.h"

namespace smelt {

struct ImportOptions {
  std::string file;   ///< a GGUF
  std::string name;   ///< [host/][namespace/]model[:tag]
  std::string store;  ///< empty: OLLAMA_MODELS or the default folder
};

struct ImportResult {
  std::string name, manifest, blob, digest;
  std::string how;  ///< "reflink", "hard link", "copy", "present"
  uint64_t bytes = 0;
};

SMELT_EXPORT absl::StatusOr<ImportResult> Import(const ImportOptions& options,
                                                 const Observer& observer = {});

}  // namespace smelt
