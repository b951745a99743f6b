// Which files of a model directory are its weights, when several forms lie side by side.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/container.h"

namespace smelt {

/// In the order of preference.
enum class WeightsKind {
  kSafetensors,              ///< model.safetensors or its index
  kTorch,                    ///< pytorch_model.bin or its index, or the one other checkpoint
  kConsolidatedSafetensors,  ///< Mistral's own layout: consolidated*.safetensors with params.json
  kConsolidatedTorch,        ///< Meta's: consolidated.NN.pth with params.json
};

struct WeightsForm {
  WeightsKind kind = WeightsKind::kSafetensors;
  /// File names in the directory: the single file or the index; of the consolidated forms every
  /// part, in order. Meta's parts are slices of the same tensors.
  std::vector<std::string> files;
  std::vector<std::string> notes;  ///< which other form was left aside
};

/// kNotFound when the directory has no weights that we read; kInvalidInput when Meta's parts are
/// not numbered without gaps, or when nothing tells which of several checkpoints is meant.
absl::StatusOr<WeightsForm> FindWeights(const std::string& directory);

/// The tensors of every form but kConsolidatedTorch with several parts (see OpenMetaParts).
absl::StatusOr<Container> OpenWeights(const std::string& directory, const WeightsForm& form);

/// One container per file of Meta's form: same names, each a slice. Fails when the parts differ in
/// their names or element types.
absl::StatusOr<std::vector<Container>> OpenMetaParts(const std::string& directory,
                                                     const WeightsForm& form);

}  // namespace smelt
