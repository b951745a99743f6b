// The importance of a plan's tensors: from a file, matched by their names.
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "lib/base/metadata.h"
#include "lib/jobs/plan.h"

namespace smelt {

/// What PlanOptions::imatrix says for importance that is gathered.
inline constexpr std::string_view kGather = "auto";

/// Opens the file that plan.options names, if any, into plan.importance.
absl::Status OpenImportance(Plan& plan);

/// The keys quantize.imatrix.*, as llama-quantize writes them; none without importance.
void SetImportanceKeys(const Plan& plan, Metadata& metadata);

/// Gives every tensor that is quantized its entry of plan.importance. Refuses an entry of another
/// size, and types that need importance where there is none. Tensors that the file leaves out are a
/// warning of the plan.
absl::Status MatchImportance(Plan& plan);

}  // namespace smelt
