// What long jobs walk: the embedding, each layer, the head.
#pragma once

#include <cstddef>
#include <vector>

#include "lib/jobs/plan.h"

namespace smelt {

/// Tensors of a plan, in its order, by the stage that needs them first.
struct Stages {
  /// The embedding, whatever belongs to no layer, and what little of the layers is not quantized
  /// (norms, biases, scales): a model's description and its first step ask for nothing else.
  std::vector<size_t> embedding;
  std::vector<std::vector<size_t>> layers;  ///< the matrices of each
  /// The output matrix, and what belongs to layers that are carried along and never run.
  std::vector<size_t> head;
};

/// `layers`: how many the model runs.
Stages StagesOf(const Plan& plan, size_t layers);

}  // namespace smelt
