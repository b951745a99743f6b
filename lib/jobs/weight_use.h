// How a generation keeps its weights.
#pragma once

#include <cstdint>

#include "infer/backend.h"
#include "infer/score.h"
#include "smelt/devices.h"
#include "smelt/observer.h"

namespace smelt {

struct WeightPlan {
  WeightUse use = WeightUse::kResident;
  uint64_t copied_bytes = 0;  ///< of weights that are kept in another order too
};

/// Interleaved where that is wanted, this machine gains by it and memory allows it: the copies, and
/// as much again for the file that they are made from. A note where memory is what does not.
WeightPlan PlanWeights(const ModelSource& source, Precision precision, const DeviceOptions& device,
                       bool repack, const Observer& observer);

}  // namespace smelt
