// Types chosen for a size: what a model's predictions lose by errors in each of its tensors is
// measured, and what each type would cost there, and the bytes go where they gain most.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/jobs/plan.h"
#include "lib/model/model_source.h"
#include "smelt/observer.h"

namespace smelt {

struct SizeTarget {
  uint64_t bytes = 0;          ///< of the file (all parts); 0: none
  double bits_per_weight = 0;  ///< of all tensors over their elements; 0: none

  bool present() const { return bytes != 0 || bits_per_weight != 0; }
};

/// `options` with a --tensor-type for every tensor that a preset would quantize and nobody has
/// named, such that the plan is at most as large as `target` says and loses little. Rows of
/// `types_file` (or empty) are taken instead of measuring where it is there; else it is written.
/// options.type is the preset that decides the rest ("auto": the one of about this size). kUsage
/// where even the smallest types are too large, saying how small it goes.
absl::StatusOr<PlanOptions> FitToSize(const ModelSource& source, const PlanOptions& options,
                                      const SizeTarget& target, const std::string& types_file,
                                      const Observer& observer);

/// "4.2GB" or "4.25bpw"; empty where there is none. Preset names say nothing of such a file.
std::string NameOf(const SizeTarget& target);

/// kUsage for a plan larger than that.
absl::Status CheckSize(const Plan& plan, const SizeTarget& target);

/// Rows REGEX=TYPE, one a line; what follows a '#' is a comment.
absl::StatusOr<std::vector<std::pair<std::string, std::string>>> ReadTypesFile(
    const std::string& path);

}  // namespace smelt
