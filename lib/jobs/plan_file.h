// A plan as JSON: written by `--plan FILE` when the file is absent, replayed when it is there.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "lib/jobs/plan.h"
#include "lib/model/model_source.h"

namespace smelt {

std::string PlanToJson(const Plan& plan);

/// The plan that `json` (of file `name`) describes, made again for `source`. The types are those of
/// the file; offsets, header and encoder version must come out as it says. kInvalidInput says what
/// does not fit. `options`: what the command line asks; where it differs from the defaults it must
/// agree with the file.
absl::StatusOr<Plan> PlanFromJson(const std::string& json, const std::string& name,
                                  const ModelSource& source, const PlanOptions& options);

/// The options alone: a source is opened with some of them (`pre`,
/// `allow_tokenizer_mismatch`) before the plan can be replayed.
absl::StatusOr<PlanOptions> OptionsOfPlanFile(const std::string& json, const std::string& name);

}  // namespace smelt
