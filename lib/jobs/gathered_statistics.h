// Statistics gathered in the walk that writes an output (--imatrix auto, --effort best): the source
// runs on a text, and a layer's are known when that layer is written.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "infer/calibration.h"
#include "lib/jobs/fill.h"
#include "lib/jobs/plan.h"
#include "lib/jobs/statistics_tap.h"
#include "lib/model/model_source.h"
#include "smelt/observer.h"

namespace smelt {

class StatisticsGatherer {
 public:
  /// `output` remembers what each layer gave, so that a resumed run notices where it is not the
  /// same. Everything outlives this.
  static absl::StatusOr<std::unique_ptr<StatisticsGatherer>> Open(const ModelSource& source,
                                                                  const Plan& plan,
                                                                  const Observer& observer,
                                                                  PartialOutput& output);

  absl::Status Begin();
  /// Then the statistics of the layer's tensors, and of no others, are known.
  absl::Status Step(size_t layer);
  /// Then those of the output matrix.
  absl::Status Finish();
  /// Encodes tensors with what is known now.
  absl::Status Encode(Filler& filler, std::span<const size_t> tensors) const;

 private:
  StatisticsGatherer(const ModelSource& source, const Plan& plan, PartialOutput& output);
  absl::Status Keep(size_t stage);
  absl::Status EncodeWith(const SharedGram& shared, Filler& filler,
                          std::span<const PlannedMatrix> matrices) const;
  bool IsDone(std::span<const PlannedMatrix> matrices) const;
  void FindImportance(const PlannedTensor& tensor, uint64_t matrix, std::span<float> out) const;

  const Plan& plan_;
  PartialOutput& output_;
  std::vector<std::vector<int32_t>> texts_;
  std::unique_ptr<Calibration> calibration_;
  StatisticsTap tap_;
};

}  // namespace smelt
