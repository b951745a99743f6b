// The walk that makes outputs: layer after layer, the source is run to see what matters (with
// --imatrix auto), its weights are encoded and written, and what was written is run beside the
// source. So a source is read once, however big it is, and however many outputs are made of it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/available_memory.h"
#include "lib/jobs/anonymous_memory.h"
#include "lib/jobs/evaluation_texts.h"
#include "lib/jobs/fill.h"
#include "lib/jobs/plan.h"
#include "lib/model/model_source.h"
#include "smelt/convert.h"
#include "smelt/evaluate.h"
#include "smelt/observer.h"

namespace smelt {

struct Walk {
  const ModelSource& source;
  std::span<const FillTarget> targets;  ///< one at least
  std::span<const std::string> names;   ///< of the outputs, for messages
  const ConvertOptions& options;
  Validate validate = Validate::kOff;
  const std::vector<NamedText>& texts;  ///< of the check
  const Observer& observer;
  /// Bytes that the system has for files besides; where source and outputs are larger, a layer's
  /// are given up as soon as it is done.
  std::optional<uint64_t> memory = AvailableMemory();
};

/// In what order the source is read, and how often.
std::string DescribeWalk(const Plan& plan, Validate validate);

/// Fills the parts; the figures of each output's check, none where walk.validate is off. After an
/// error the caller decides what stays.
absl::StatusOr<std::vector<EvaluateResult>> WalkThrough(const Walk& walk, MemoryPeak& peak);

}  // namespace smelt
