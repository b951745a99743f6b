// Meta's parts put together: each file holds a slice of every matrix.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "lib/model/family.h"

namespace smelt {

struct MergedParts {
  Container container;  ///< whole shapes; values of sliced tensors are to be read through `sliced`
  SlicedTensors sliced;
};

/// `width`: `dim` of params.json, which tells how the embedding was cut.
absl::StatusOr<MergedParts> MergeMetaParts(std::vector<Container> parts, uint64_t width);

}  // namespace smelt
