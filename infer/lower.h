// From a LayerSpec to the graph that a backend compiles.
#pragma once

#include "absl/status/statusor.h"
#include "infer/backend.h"
#include "infer/graph.h"
#include "lib/model/layer_spec.h"

namespace smelt {

/// Loads the weights of spec.layers[layer] (matrices as `use` says) and lists its operations.
absl::StatusOr<Graph> LowerLayer(const ModelSpec& spec, size_t layer, const ModelSource& source,
                                 WeightUse use, Backend& backend);

/// Completes the per-layer inputs, which hold the rows of their table, scaled; the stream is the
/// embedding.
absl::StatusOr<Graph> LowerInputs(const ModelSpec& spec, const ModelSource& source, WeightUse use,
                                  Backend& backend);

/// The norm before the logits, in place on buffer 0.
absl::StatusOr<Graph> LowerFinalNorm(const ModelSpec& spec, const ModelSource& source,
                                     Backend& backend);

absl::StatusOr<Head> LowerHead(const ModelSpec& spec, const ModelSource& source, WeightUse use,
                               Backend& backend);

}  // namespace smelt
