// From a path to a ModelSource.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/container.h"
#include "lib/model/model_source.h"

namespace smelt {

class Config;
struct ConfigTokenIds;

struct OpenOptions {
  bool vocabulary = true;                 ///< read the tokenizer files too
  std::string pre;                        ///< see VocabularyOptions
  bool allow_tokenizer_mismatch = false;  ///< see VocabularyOptions::allow_mismatch
};

struct OpenedModel {
  std::unique_ptr<ModelSource> source;
  std::vector<std::string> notes;  ///< what the user should know
  std::vector<std::string> warnings;
};

/// A model directory (config.json + weights), a hub cache's snapshot folder, or a GGUF (split ones
/// read as one).
absl::StatusOr<OpenedModel> OpenModel(const std::string& path, const OpenOptions& options = {});

/// A plain safetensors file of matrices: every tensor under its own name, no metadata.
absl::StatusOr<OpenedModel> OpenMatrices(const std::string& path);

}  // namespace smelt
