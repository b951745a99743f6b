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
  if (!repack || precision != Precision::kQ8 || device.device != "cpu") return WeightUse::kResident;
  uint64_t bytes = 0;
  for (const TensorInfo& info : source.tensors()) {
    if (info.shape.rows() > 1 && FindInterleaved(info.type) != nullptr)
      bytes += info.shape.rows() * RowBytes(info.type, info.shape.columns()).value_or(0);
  }
  const std::optional<uint64_t> available = AvailableMemory();
  if (available && bytes <= *available / 2) return WeightUse::kInterleaved;
  if (available) {
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
  const Precision wanted = wishes.q8_activations ? Precision::kQ8 : Precision::kF32;
  SMELT_ASSIGN_OR_RETURN(const DeviceOptions device, ChooseDevice(wishes.device, wanted, observer));
  const bool f32 = wishes.f32_activations || (device.device != "cpu" && !wishes.q8_activations);
  const Precision precision = f32 ? Precision::kF32 : Precision::kQ8;
  const WeightUse use = ChooseWeightUse(source, precision, device, wishes.repack, observer);
  return GenerationSetup{device, precision, use};
}

}  // namespace smelt
