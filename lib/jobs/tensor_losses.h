// What a model's predictions lose when single tensors are stored in coarser types.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/tensor_type.h"
#include "lib/jobs/plan.h"
#include "lib/model/model_source.h"
#include "smelt/observer.h"

namespace smelt {

/// One tensor, and the loss (KL divergence in nats, of the model's predictions to those with this
/// tensor changed) that each type would mean.
struct TensorLosses {
  size_t tensor = 0;  ///< index in Plan::tensors
  struct Loss {
    TensorType type = TensorType::kF32;
    double loss = 0;
  };
  std::vector<Loss> types;
};

/// Tokens of the text that is measured on, at most.
uint64_t MeasuredTokens(const Plan& plan);

/// Of the tensors of `plan` that `wanted` names (by their index in Plan::tensors) and that the
/// model computes with. A text goes through the model, and beside it a copy for each tensor that
/// runs with this one in a coarse type; the loss so measured is scaled by the error of each
/// candidate, at the plan's effort, over that of the coarse type: both on a sample of the tensor's
/// rows, and weighted by what goes into it, its second moment (--effort best) or the squares.
absl::StatusOr<std::vector<TensorLosses>> MeasureTensorLosses(const ModelSource& source,
                                                              const Plan& plan,
                                                              const std::vector<size_t>& wanted,
                                                              const Observer& observer);

}  // namespace smelt
