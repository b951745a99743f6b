// Where a generation computes, how exactly, and how it keeps its weights.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "infer/backend.h"
#include "infer/score.h"
#include "infer/session.h"
#include "lib/model/model_source.h"
#include "smelt/devices.h"
#include "smelt/observer.h"

namespace smelt {

/// What users ask for.
struct GenerationWishes {
  DeviceOptions device;
  Activations activations = Activations::kUsual;
  bool repack = true;
};

/// Of GenerateOptions, or of other options of a generation.
template <typename Options>
GenerationWishes WishesOf(const Options& options) {
  return {options.device, options.activations, options.repack};
}

struct GenerationSetup {
  DeviceOptions device;
  Precision precision = Precision::kQ8;   ///< on the processor
  Precision on_device = Precision::kF32;  ///< on another device
  WeightUse use = WeightUse::kResident;   ///< on the processor
};

/// Activations are rounded to 8 bits on the processor, and on a device where that is asked for.
/// Weights are kInterleaved where that is wanted, this machine gains by it and memory allows it:
/// the copies, and as much again for the file that they are made from; else kResident, with a note
/// where memory is what does not. Errors are those of ChooseDevice.
absl::StatusOr<GenerationSetup> ChooseGenerationSetup(const ModelSource& source,
                                                      const GenerationWishes& wishes,
                                                      const Observer& observer);

absl::StatusOr<std::unique_ptr<Session>> OpenSession(const SpecifiedModel& model,
                                                     const GenerationSetup& setup);

/// How a session computes: "f32", "q8", or both with a plus sign, a device's first.
std::string ActivationsOf(const Session& session);

}  // namespace smelt
