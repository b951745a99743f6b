// Statistics that are kept (--statistics FILE): written as they are gathered, and read again as if
// they were.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/statistics.h"
#include "infer/tap.h"
#include "lib/jobs/gathering.h"
#include "lib/jobs/statistics_tap.h"
#include "lib/model/model_source.h"

namespace smelt {

/// Refuses a file of another model, and one without second moments of a tensor of the source for
/// which `moments` asks.
absl::Status CheckStatistics(const StatisticsFile& file, const ModelSource& source,
                             const std::vector<bool>& moments);

/// Tells `tap` what a file that was checked has of a stage: a layer's or, after these, the head's.
absl::Status TellStatistics(const StatisticsFile& file, const ModelSource& source, size_t stage,
                            Tap& tap);

/// Writes what is gathered of one stage after the other.
class StatisticsKeeper {
 public:
  /// `moments`: by tensor of the source, whether its second moment is asked for.
  static absl::StatusOr<std::unique_ptr<StatisticsKeeper>> Open(const ModelSource& source,
                                                                const Gathering& gathering,
                                                                const std::vector<bool>& moments,
                                                                size_t stages);
  /// How large the file may become. Which matrices share their inputs, and so a moment, shows when
  /// the model runs.
  static absl::StatusOr<uint64_t> MostBytes(const ModelSource& source, const Gathering& gathering,
                                            const std::vector<bool>& moments, size_t stages);

  /// The next stage.
  absl::Status Add(const StatisticsTap& tap);
  /// The file gets its name.
  absl::Status Finish();

 private:
  explicit StatisticsKeeper(const ModelSource& source) : source_(source) {}

  const ModelSource& source_;
  std::unique_ptr<StatisticsWriter> writer_;
  std::set<std::string> known_;  ///< tensors of earlier stages
};

}  // namespace smelt
