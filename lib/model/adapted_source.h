// A model with adapters merged into it as it is read.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/model/lora_gguf.h"
#include "lib/model/model_source.h"

namespace smelt {

/// `base` with one adapter after the other. Tensors that none of them changes are the base's own,
/// bytes and all; the others are computed, F32, and remember their type (TensorInfo::unmerged).
/// `metadata` in place of the base's.
/// kInvalidInput where an adapter is for a tensor that the base does not have, or of another shape.
absl::StatusOr<std::unique_ptr<ModelSource>> MakeAdaptedSource(std::unique_ptr<ModelSource> base,
                                                               std::vector<GgufLora> adapters,
                                                               Metadata metadata);

}  // namespace smelt
