// What long jobs walk: the embedding, each layer, the head.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "lib/jobs/plan.h"

namespace smelt {

/// A source's tensors, in its order, by the stage that needs them first.
struct Stages {
  /// The embedding, whatever belongs to no layer, and what little of the layers is not quantized
  /// in any output (norms, biases, scales): a model's description and its first step ask for
  /// nothing else.
  std::vector<size_t> embedding;
  std::vector<std::vector<size_t>> layers;  ///< the matrices of each
  /// The output matrix, and what belongs to layers that are carried along and never run.
  std::vector<size_t> head;
};

/// `layers`: how many the model runs; `plans`: of all outputs.
Stages StagesOf(const ModelSource& source, std::span<const Plan* const> plans, size_t layers);

}  // namespace smelt
