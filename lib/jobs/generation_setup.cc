#include "lib/jobs/generation_setup.h"

#include <optional>

#include "infer/open_backend.h"
#include "lib/base/available_memory.h"
#include "lib/base/cat.h"
#include "lib/base/status.h"
#include "lib/base/tensor_type.h"
#include "quant/interleaved.h"

namespace smelt {
namespace {

WeightUse ChooseWeightUse(const ModelSource& source, Precision precision,
                          const DeviceOptions& device, bool repack, const Observer& observer) {
  if (!repack || precision != Precision::kQ8) return WeightUse::kResident;
  uint64_t bytes = 0;
  for (const TensorInfo& info : source.tensors()) {
    if (info.shape.rows() > 1 && FindInterleaved(info.type) != nullptr)
      bytes += info.shape.rows() * RowBytes(info.type, info.shape.columns()).value_or(0);
  }
  const std::optional<uint64_t> available = AvailableMemory();
  if (available && bytes <= *available / 2) return WeightUse::kInterleaved;
  if (available && device.device == "cpu") {
    observer.Note(Cat(
        "the weights stay as the file has them: a copy in the order in which they are read "
        "fastest takes ",
        bytes >> 20, " MiB, and of ", *available >> 20, " MiB of free memory it may take half"));
  }
  return WeightUse::kResident;
}

}  // namespace

absl::StatusOr<GenerationSetup> ChooseGenerationSetup(const ModelSource& source,
                                                      const GenerationWishes& wishes,
                                                      const Observer& observer) {
  const Activations wanted = wishes.activations;
  GenerationSetup setup;
  setup.precision = wanted == Activations::kF32 ? Precision::kF32 : Precision::kQ8;
  setup.on_device = wanted == Activations::kQ8 ? Precision::kQ8 : Precision::kF32;
  SMELT_ASSIGN_OR_RETURN(setup.device, ChooseDevice(wishes.device, setup.on_device, observer));
  setup.use = ChooseWeightUse(source, setup.precision, setup.device, wishes.repack, observer);
  return setup;
}

absl::StatusOr<std::unique_ptr<Session>> OpenSession(const SpecifiedModel& model,
                                                     const GenerationSetup& setup) {
  return Session::Create(model, setup.precision, setup.device, setup.use, setup.on_device);
}

std::string ActivationsOf(const Session& session) {
  std::string text;
  for (const Precision precision : session.precisions()) {
    const std::string_view name = precision == Precision::kQ8 ? "q8" : "f32";
    if (text != name) text += Cat(text.empty() ? "" : "+", name);
  }
  return text;
}

}  // namespace smelt
