// How a generation keeps its weights.
#pragma once

#include "infer/backend.h"
#include "infer/score.h"
#include "smelt/devices.h"
#include "smelt/observer.h"

namespace smelt {

/// kInterleaved where that is wanted, this machine gains by it and memory allows it: the copies,
/// and as much again for the file that they are made from; else kResident. A note where memory is
/// what does not.
WeightUse ChooseWeightUse(const ModelSource& source, Precision precision,
                          const DeviceOptions& device, bool repack, const Observer& observer);

}  // namespace smelt
