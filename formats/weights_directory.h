// Which files of a model directory are its weights, when several forms lie side by side.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/container.h"
#include "formats/weight_files.h"

namespace smelt {

/// In the order of preference.
enum class WeightsKind {
  kSafetensors,              ///< model.safetensors, its index, or other files of that format
  kTorch,                    ///< pytorch_model.bin, its index, or other checkpoints
  kConsolidatedSafetensors,  ///< Mistral's own layout: consolidated*.safetensors with params.json
  kConsolidatedTorch,        ///< Meta's: consolidated.NN.pth with params.json
};

struct WeightsForm {
  WeightsKind kind = WeightsKind::kSafetensors;
  /// File names in the directory: the single file, the index, or all parts in order. Meta's parts
  /// are slices of the same tensors.
  std::vector<std::string> files;
  std::vector<std::string> notes;  ///< which other form was left aside
  WeightFiles weights;             ///< of all but Meta's form
};

/// kNotFound when the directory has no weights that we read or misses parts of them; kInvalidInput
/// when nothing tells which of several checkpoints is meant. Looks at names, and at headers only
/// where the names do not say what belongs together.
absl::StatusOr<WeightsForm> FindWeights(const std::string& directory);

/// The tensors of every form but kConsolidatedTorch with several parts (see OpenMetaParts); see
/// OpenWeightFiles.
absl::StatusOr<Container> OpenWeights(const std::string& directory, const WeightsForm& form);

/// The same of what FindWeights finds.
absl::StatusOr<Container> OpenWeights(const std::string& directory);

/// One container per file of Meta's form: same names, each a slice. Fails when the parts differ in
/// their names or element types.
absl::StatusOr<std::vector<Container>> OpenMetaParts(const std::string& directory,
                                                     const WeightsForm& form);

}  // namespace smelt
