// What a conversion is about to do: its source, opened, and the plan and names of every output.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/jobs/plan.h"
#include "lib/model/model_source.h"
#include "smelt/convert.h"
#include "smelt/observer.h"

namespace smelt {

struct ConversionOutput {
  Plan plan;
  std::string path;                ///< as asked for
  std::vector<std::string> files;  ///< names of the plan's files: the path, or its parts

  /// What a reader opens.
  const std::string& first() const { return files.front(); }
  /// The same for what the gate rejected.
  std::vector<std::string> RejectedNames() const;
};

struct ConversionJob {
  std::unique_ptr<ModelSource> source;
  std::vector<ConversionOutput> outputs;  ///< of each type
  std::string new_folder;                 ///< to be made for them; empty: none

  std::vector<const Plan*> plans() const;
};

/// An adapter alone cannot be evaluated.
Validate ValidationOf(const ConvertOptions& options);
inline bool IsValidated(const ConvertOptions& options) {
  return ValidationOf(options) != Validate::kOff;
}

/// Opens the source and plans an output for each of `types`; options.type does not count. Several
/// go into a folder, by their default names.
absl::StatusOr<ConversionJob> PlanJob(const ConvertOptions& options,
                                      const std::vector<std::string>& types,
                                      const Observer& observer);

/// Whether all files may be written: they are not inputs, not there already unless by
/// options.force, and not each other.
absl::Status CheckOutputPaths(const ConversionJob& job, const ConvertOptions& options);

/// Writes options.plan_file, if it is named and absent.
absl::Status SavePlan(const ConversionJob& job, const ConvertOptions& options,
                      const Observer& observer);

PlanSummary Summarize(const ConversionJob& job, const ConversionOutput& output,
                      const ConvertOptions& options);
std::vector<OutputFile> PublicFiles(const ConversionOutput& output);
std::vector<TypeFallback> PublicFallbacks(const Fallbacks& fallbacks);

}  // namespace smelt
