// Statistics of the walk that writes outputs (--imatrix auto, --effort best): the source runs on a
// text, once for all of them, and a layer's are known when that layer is written. Or a file holds
// them from an earlier run, and nothing is run.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "infer/calibration.h"
#include "lib/jobs/fill.h"
#include "lib/jobs/kept_statistics.h"
#include "lib/jobs/plan.h"
#include "lib/jobs/statistics_tap.h"
#include "lib/model/layer_spec.h"
#include "lib/model/model_source.h"
#include "smelt/observer.h"

namespace smelt {

/// By source tensor: those that are rounded with the second moment of their inputs.
std::vector<bool> WithMoments(const ModelSource& source, const Plan& plan);
/// Those of any of the plans.
std::vector<bool> WithMoments(const ModelSource& source, std::span<const Plan* const> plans);

class StatisticsGatherer {
 public:
  /// Gathers what `gathering` says, for the plans that have one. Their outputs remember what each
  /// layer gave, so that a resumed run notices where it is not the same. Everything outlives this.
  static absl::StatusOr<std::unique_ptr<StatisticsGatherer>> Open(
      const ModelSource& source, const Gathering& gathering, std::span<const FillTarget> targets,
      const Observer& observer);

  absl::Status Begin();
  /// Encodes tensors of the source that come before the layers.
  absl::Status EncodeEmbedding(Filler& filler, std::span<const size_t> tensors) const;
  /// Then the statistics of the layer's tensors, and of no others, are known.
  absl::Status Step(size_t layer);
  /// Then those of the output matrix.
  absl::Status Finish();
  /// Encodes tensors of the source with what is known now.
  absl::Status Encode(Filler& filler, std::span<const size_t> tensors) const;

 private:
  /// A target with a gathering, and the source's tensors that it rounds with second moments.
  struct User {
    FillTarget target;
    std::vector<bool> moments;
  };

  StatisticsGatherer(const ModelSource& source, std::vector<User> users,
                     const std::vector<bool>& moments);
  size_t layers() const { return spec_.layers.size(); }
  absl::Status OpenCalibration(const Gathering& gathering, const Observer& observer);
  /// The stage after the layers is the head.
  absl::Status Gather(size_t stage);
  absl::Status Keep(size_t stage);
  static absl::Status KeepIn(PartialOutput& output, size_t stage, uint64_t hash);
  absl::Status EncodeWith(const SharedGram& shared, Filler& filler,
                          std::span<const SourceMatrix> matrices) const;
  static bool IsDone(const FillTarget& target, std::span<const SourceMatrix> matrices);
  void FindImportance(const PlannedTensor& tensor, uint64_t matrix, std::span<float> out) const;

  const ModelSource& source_;
  const std::vector<User> users_;
  std::vector<std::vector<int32_t>> texts_;
  ModelSpec spec_;
  std::shared_ptr<const StatisticsFile> kept_;  ///< instead of a calibration
  std::unique_ptr<Calibration> calibration_;
  std::unique_ptr<StatisticsKeeper> keeper_;  ///< nullptr: nothing is kept
  StatisticsTap tap_;
};

}  // namespace smelt
