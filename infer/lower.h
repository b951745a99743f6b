// From a LayerSpec to the graph that a backend compiles.
#pragma once

#include "absl/status/statusor.h"
#include "infer/backend.h"
#include "infer/graph.h"
#include "lib/model/layer_spec.h"

namespace smelt {

/// Loads the layer's weights (matrices as `use` says) and lists its operations. Buffer 0 is the
/// residual stream.
absl::StatusOr<Graph> LowerLayer(const LayerSpec& layer, uint32_t width, const ModelSource& source,
                                 WeightUse use, Backend& backend);

/// The norm before the logits, in place on buffer 0.
absl::StatusOr<Graph> LowerFinalNorm(const ModelSpec& spec, const ModelSource& source,
                                     Backend& backend);

absl::StatusOr<Head> LowerHead(const ModelSpec& spec, const ModelSource& source, WeightUse use,
                               Backend& backend);

}  // namespace smelt
