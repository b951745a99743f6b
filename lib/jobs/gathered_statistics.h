// Importance gathered in the walk that writes an output (--imatrix auto): the source runs on a
// bundled text, and a layer's is known when that layer is written.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "infer/calibration.h"
#include "lib/jobs/fill.h"
#include "lib/jobs/importance_tap.h"
#include "lib/jobs/plan.h"
#include "lib/model/model_source.h"
#include "smelt/observer.h"

namespace smelt {

/// How much text: enough for every column, and for large models no more than costs about as much as
/// writing them.
struct GatheringRecipe {
  uint64_t context = 0, chunks = 0;
};
GatheringRecipe GatheringFor(const ModelSource& source, uint64_t parameters);

/// What the gathered figures are made from, the source aside: part of a plan's fingerprint.
std::string GatheringIdentity(const GatheringRecipe& recipe);

/// "8192 tokens of the bundled calibration text".
std::string Describe(const GatheringRecipe& recipe);

class ImportanceGatherer {
 public:
  /// `output` remembers what each layer gave, so that a resumed run notices where it is not the
  /// same. Everything outlives this.
  static absl::StatusOr<std::unique_ptr<ImportanceGatherer>> Open(const ModelSource& source,
                                                                  const Plan& plan,
                                                                  const Observer& observer,
                                                                  PartialOutput& output);

  absl::Status Begin();
  /// Then the importance of the layer's tensors, and of no others, is known.
  absl::Status Step(size_t layer);
  /// Then that of the output matrix.
  absl::Status Finish();
  /// What is known now.
  GatheredImportance known() const;

 private:
  ImportanceGatherer(const ModelSource& source, PartialOutput& output)
      : output_(output), tap_(source, true) {}
  absl::Status Keep(size_t stage);

  PartialOutput& output_;
  std::vector<std::vector<int32_t>> texts_;
  std::unique_ptr<Calibration> calibration_;
  ImportanceTap tap_;
};

}  // namespace smelt
