// A model of which only the description is there: the recipes of single tensors, for what adapters
// say of published ones.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/text_hash.h"
#include "lib/model/family.h"
#include "lib/model/model_source.h"

namespace smelt {

struct ImaginedModel {
  TextSet<std::string> asked;         ///< bare names of the published tensors that are wanted
  const ModelSource* file = nullptr;  ///< the GGUF whose tensors they are; null: config.json says

  uint64_t MostLayers() const { return file == nullptr ? 1 << 16 : file->tensors().size(); }
};

/// The sizes of a rule's tensor as the GGUF has it, into the hyperparameters that name them; false:
/// it has no such tensor. kUnsupported where the way from the published tensor cannot be told from
/// the GGUF.
absl::StatusOr<bool> TakeExtents(const ImaginedModel& imagined, const TensorRule& rule,
                                 const std::string& target, Hyper& hyper);

/// The families whose models a GGUF can be made of: those of its architecture.
std::vector<const Family*> FamiliesOf(const ModelSource& file);

/// What a GGUF says of the hyperparameters that its tensors are moved by. `config` and `container`
/// are empty ones, which the context refers to.
FamilyContext ContextOfGguf(const Family& family, const ModelSource& file, const Config& config,
                            const Container& container);

}  // namespace smelt
