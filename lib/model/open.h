// From a path to a ModelSource.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/container.h"
#include "lib/model/model_source.h"

namespace smelt {

struct OpenOptions {
  bool vocabulary = true;                 ///< read the tokenizer files too
  std::string pre;                        ///< see VocabularyOptions
  bool allow_tokenizer_mismatch = false;  ///< see VocabularyOptions::allow_mismatch
  /// Folders of adapters that are merged one after the other, and how strong (1: as trained).
  std::vector<std::pair<std::string, double>> adapters = {};
  /// The model that `path` is an adapter of; empty: where the adapter says.
  std::string base = {};
  std::optional<bool> keep_draft =
      std::nullopt;  ///< keep or drop a draft head; nothing = as the family has it
};

struct OpenedModel {
  std::unique_ptr<ModelSource> source;
  std::vector<std::string> notes;  ///< what the user should know
  std::vector<std::string> warnings;
};

/// A model directory (config.json + weights), a hub cache's snapshot folder, a GGUF (split ones
/// read as one), or an adapter's folder (merged into its base).
absl::StatusOr<OpenedModel> OpenModel(const std::string& path, const OpenOptions& options = {});

/// A plain safetensors file of matrices: every tensor under its own name, no metadata.
absl::StatusOr<OpenedModel> OpenMatrices(const std::string& path);

}  // namespace smelt
