// The check at the end of every conversion: what was written is evaluated against what was read.
//
// What it can see, and its limits. The output is compared with our own reading of the source, on
// text. KL divergence and ln(perplexity ratio) grow with the coarseness of the types; a broken
// tensor (rows in the wrong order, a wrong scale, a wrong offset) throws a real model's KL to 2 and
// far beyond, whatever the type. So the default limits only catch breakage: about three times the
// worst ordinary loss that we know at that coarseness (135 M parameters, q4_0: 0.35; large models
// lose a tenth of that). An error made on both sides gives KL 0: therefore the source's own
// perplexity is judged too, and one near or above that of guessing is a warning.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/jobs/anonymous_memory.h"
#include "lib/jobs/evaluation_texts.h"
#include "lib/jobs/plan.h"
#include "lib/model/model_source.h"
#include "smelt/convert.h"
#include "smelt/observer.h"

namespace smelt {

/// Largest mean KL divergence (nats), and largest ln(perplexity ratio) beyond its error bar, that
/// count as the ordinary loss of a plan's types. Decided by the coarsest type that holds at least
/// 1/16 of the parameters.
double BreakageLimit(const Plan& plan);

/// Positions that a quick check runs through each model: 512 for small models, 128 for those of
/// more than 320 million parameters, so that its cost stays in proportion to the fill's.
uint64_t QuickPositions(const Plan& plan);

/// Positions of a chunk of a text of the check, and at most of the chunks that go through a layer
/// together. A model's own context may be shorter.
struct CheckPositions {
  uint64_t chunk = 0, batch = 0;
};
CheckPositions PositionsOfCheck(const Plan& plan, const ConvertOptions& options);

/// kUsage for a limit that is no finite number from 0 on. `option` names it.
absl::Status CheckLimit(std::string_view option, std::optional<double> limit);

/// Whether `source` can be evaluated at all: the error says why not, and that --validate off
/// converts without.
absl::Status CheckEvaluable(const ModelSource& source);

/// The texts of the check: options.text_files or the bundled one. Read before anything is written,
/// so that a text that cannot be used costs nothing.
absl::StatusOr<std::vector<NamedText>> ReadGateTexts(const ConvertOptions& options,
                                                     const Observer& observer);

/// An output as a reader finds it, and the plan that it was written by.
struct WrittenModel {
  const ModelSource* model = nullptr;
  const Plan* plan = nullptr;
};

/// Compares each written vocabulary with the source's (and what --metadata made of it), then
/// evaluates `written` against `source`, which runs once for all, on `texts`. Each result's gates
/// say what was judged; `passed` is the verdict.
///
/// As an open loop, in the walk that writes: Begin when the embedding stage is written, Step for
/// each layer when that is, Finish at the end. What a full check has besides its first batch of
/// chunks is evaluated in Finish.
class Gate {
 public:
  virtual ~Gate() = default;
  /// Everything outlives the gate. Reads the written headers and no weight.
  static absl::StatusOr<std::unique_ptr<Gate>> Open(std::span<const WrittenModel> written,
                                                    const ModelSource& source,
                                                    const ConvertOptions& options,
                                                    const std::vector<NamedText>& texts,
                                                    const Observer& observer, MemoryPeak& peak);
  virtual size_t layers() const = 0;
  virtual absl::Status Begin() = 0;
  virtual absl::Status Step(size_t layer) = 0;
  virtual absl::StatusOr<std::vector<EvaluateResult>> Finish() = 0;
};

/// The whole loop for one.
absl::StatusOr<EvaluateResult> RunGate(const ModelSource& written, const ModelSource& source,
                                       const Plan& plan, const ConvertOptions& options,
                                       const std::vector<NamedText>& texts,
                                       const Observer& observer, MemoryPeak& peak);

}  // namespace smelt
