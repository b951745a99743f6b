// Where a generation computes, how exactly, and how it keeps its weights.
#pragma once

#include "absl/status/statusor.h"
#include "infer/backend.h"
#include "infer/score.h"
#include "lib/model/model_source.h"
#include "smelt/devices.h"
#include "smelt/observer.h"

namespace smelt {

/// What users ask for.
struct GenerationWishes {
  DeviceOptions device;
  bool f32_activations = false;
  bool q8_activations = false;
  bool repack = true;
};

/// Of GenerateOptions, or of other options of a generation.
template <typename Options>
GenerationWishes WishesOf(const Options& options) {
  return {options.device, options.f32_activations, options.q8_activations, options.repack};
}

struct GenerationSetup {
  DeviceOptions device;
  Precision precision = Precision::kQ8;
  WeightUse use = WeightUse::kResident;
};

/// Activations are rounded to 8 bits on the processor, and on a device where that is asked for.
/// Weights are kInterleaved where that is wanted, this machine gains by it and memory allows it:
/// the copies, and as much again for the file that they are made from; else kResident, with a note
/// where memory is what does not. Errors are those of ChooseDevice.
absl::StatusOr<GenerationSetup> ChooseGenerationSetup(const ModelSource& source,
                                                      const GenerationWishes& wishes,
                                                      const Observer& observer);

}  // namespace smelt
