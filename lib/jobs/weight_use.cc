#include "lib/jobs/weight_use.h"

#include "lib/base/available_memory.h"
#include "lib/base/cat.h"
#include "lib/base/tensor_type.h"
#include "quant/interleaved.h"

namespace smelt {

WeightPlan PlanWeights(const ModelSource& source, Precision precision, const DeviceOptions& device,
                       bool repack, const Observer& observer) {
  if (!repack || precision != Precision::kQ8 || device.device != "cpu") return {};
  uint64_t bytes = 0;
  for (const TensorInfo& info : source.tensors()) {
    if (info.shape.rows() > 1 && FindInterleaved(info.type) != nullptr)
      bytes += info.shape.rows() * RowBytes(info.type, info.shape.columns()).value_or(0);
  }
  if (bytes == 0) return {};
  const uint64_t available = AvailableMemory().value_or(0);
  if (bytes > available / 2) {
    observer.Note(
        Cat("the weights stay as the file has them, since a copy in the order in which they are "
            "read fastest takes ",
            bytes >> 20, " MiB and ", available >> 20, " MiB of memory are free"));
    return {};
  }
  return {WeightUse::kInterleaved, bytes};
}

}  // namespace smelt
