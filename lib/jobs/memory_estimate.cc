#include "lib/jobs/memory_estimate.h"

#include <algorithm>

#include "infer/calibration.h"
#include "infer/score.h"
#include "infer/sensitivity.h"
#include "lib/jobs/gate.h"
#include "lib/jobs/statistics_tap.h"
#include "lib/jobs/tensor_losses.h"
#include "quant/input_factor.h"

namespace smelt {
namespace {

constexpr uint64_t kProgram = 16u << 20;
/// Decoded rows of a matrix that one worker multiplies with.
constexpr uint64_t kDecodedRows = 2u << 20;
/// Rows of the widest matrix that a position of the check holds: a block's scratch memory (queries,
/// keys, values and what comes of them), which all models use in turn, and the stream of each, half
/// of it twice.
uint64_t RowsOfPosition(uint64_t outputs) { return 4 + (3 * (outputs + 1) + 1) / 2; }

// What the text carries from layer to layer, and for second moments those in memory and the factor
// of one while it is made.
uint64_t GatheringMemory(const Plan& plan) {
  if (!plan.gathering) return 0;
  const uint64_t streams = plan.gathering->kept != nullptr ? 0 : Calibration::kStreamsInMemory;
  if (!plan.gathering->moments) return streams;
  uint64_t columns = 0;
  for (const PlannedTensor& t : plan.tensors) {
    if (Info(t.type).quantized && t.type != t.source_type)
      columns = std::max(columns, t.shape.columns());
  }
  return streams + StatisticsTap::kInMemory + InputFactor::PeakBytes(columns);
}

uint64_t FillMemory(const Plan& plan, uint64_t threads) {
  uint64_t elements = 0;
  for (const PlannedTensor& t : plan.tensors)
    elements = std::max(elements, t.tile_rows * t.shape.columns());
  // A tile as f32 and as it is written, and the same again for what a recipe is made of.
  return threads * 2 * (elements * sizeof(float) + elements * sizeof(float));
}

uint64_t CheckMemory(const Plan& plan, uint64_t outputs, uint64_t threads,
                     const ConvertOptions& options) {
  uint64_t columns = 0;
  for (const PlannedTensor& t : plan.tensors) columns = std::max(columns, t.shape.columns());
  const uint64_t position = RowsOfPosition(outputs) * columns * sizeof(float);
  const CheckPositions positions = PositionsOfCheck(plan, options);
  const uint64_t batch = std::min(positions.batch * position, kActivationBudget);
  return std::max(batch, positions.chunk * position) + threads * kDecodedRows;
}

// The activations of one stream at a time, what all of them carry from layer to layer, and tiles of
// the tensor that is changed, as they are read and encoded.
uint64_t MeasuringMemory(const Plan& plan, uint64_t threads) {
  uint64_t columns = 0;
  for (const PlannedTensor& t : plan.tensors) columns = std::max(columns, t.shape.columns());
  const uint64_t position = RowsOfPosition(1) * columns * sizeof(float);
  return Sensitivity::kStreamsInMemory +
         std::min(MeasuredTokens(plan) * position, kActivationBudget) +
         threads * (kDecodedRows + kDecodedRows);
}

}  // namespace

uint64_t EstimateMemory(std::span<const Plan* const> plans, int threads,
                        const ConvertOptions& options) {
  const uint64_t workers = static_cast<uint64_t>(threads);
  const bool checks = options.validate != Validate::kOff && !options.adapter_only;
  uint64_t headers = 0, stage = 0, gathering = 0;
  for (const Plan* const plan : plans) {
    headers += plan->header_bytes();
    stage = std::max(stage, FillMemory(*plan, workers));
    if (checks) stage = std::max(stage, CheckMemory(*plan, plans.size(), workers, options));
    if (options.target_size != 0 || options.target_bpw != 0)
      stage = std::max(stage, MeasuringMemory(*plan, workers));
    gathering = std::max(gathering, GatheringMemory(*plan));
  }
  return kProgram + 3 * headers + stage + gathering;
}

}  // namespace smelt
