#include "lib/jobs/gathered_importance.h"

#include <algorithm>
#include <cmath>

#include "lib/base/hash.h"
#include "lib/base/status.h"
#include "lib/jobs/bundled_text.h"
#include "lib/jobs/text_ids.h"
#include "lib/jobs/trained_context.h"
#include "lib/model/layer_spec.h"

namespace smelt {
namespace {

constexpr uint32_t kVersion = 1;  ///< raised whenever the same text gives other figures
constexpr uint64_t kContext = 512;
/// Chunks for models of up to so many parameters.
struct Size {
  uint64_t parameters, chunks;
};
constexpr Size kSizes[] = {{400'000'000, 24}, {4'000'000'000, 12}, {UINT64_MAX, 8}};

std::string Sha256OfText() { return Sha256Hex(std::as_bytes(std::span(BundledCalibrationText()))); }

}  // namespace

GatheringRecipe GatheringFor(const ModelSource& source, uint64_t parameters) {
  GatheringRecipe recipe{.context = kContext, .chunks = kSizes[0].chunks};
  for (const Size& size : kSizes) {
    recipe.chunks = size.chunks;
    if (parameters <= size.parameters) break;
  }
  if (const uint64_t trained = TrainedContext(source); trained > 0)
    recipe.context = std::min(recipe.context, std::max<uint64_t>(trained, 4));
  return recipe;
}

std::string GatheringIdentity(const GatheringRecipe& recipe) {
  return Cat("importance ", kVersion, " ", recipe.context, " ", recipe.chunks, " ", Sha256OfText());
}

std::string Describe(const GatheringRecipe& recipe) {
  return Cat("at most ", recipe.context * recipe.chunks, " tokens of the bundled calibration text");
}

absl::StatusOr<std::unique_ptr<ImportanceGatherer>> ImportanceGatherer::Open(
    const ModelSource& source, const Plan& plan, const Observer& observer, PartialOutput& output) {
  std::unique_ptr<ImportanceGatherer> out(new ImportanceGatherer(source, output));
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = TokenizerOf(source);
  if (!tokenizer.ok()) {
    return Error(CodeOf(tokenizer.status()), std::string(tokenizer.status().message()),
                 "; --imatrix auto needs it to read a text: name a file instead");
  }
  SMELT_ASSIGN_OR_RETURN(out->texts_.emplace_back(),
                         EvaluationIds(**tokenizer, BundledCalibrationText()));
  const GatheringRecipe recipe = GatheringFor(source, plan.parameters);
  const ScoreOptions options{.context = recipe.context,
                             .chunks = recipe.chunks,
                             .add_bos = (*tokenizer)->adds_bos(),
                             .bos = (*tokenizer)->bos()};
  SpecifiedModel model{.source = &source, .spec = {}};
  SMELT_ASSIGN_OR_RETURN(model.spec, ReadModelSpec(source));
  SMELT_ASSIGN_OR_RETURN(out->calibration_,
                         Calibration::Open(model, out->texts_, options, observer));
  return out;
}

absl::Status ImportanceGatherer::Begin() { return calibration_->Begin(); }

absl::Status ImportanceGatherer::Step(size_t layer) {
  tap_.found().clear();
  SMELT_RETURN_IF_ERROR(calibration_->Step(layer, &tap_));
  return Keep(layer);
}

absl::Status ImportanceGatherer::Finish() {
  tap_.found().clear();
  SMELT_RETURN_IF_ERROR(calibration_->Finish(&tap_));
  return Keep(calibration_->layers());
}

absl::Status ImportanceGatherer::Keep(size_t stage) {
  uint64_t hash = stage;
  for (const auto& [tensor, squares] : tap_.found()) {
    SMELT_ASSIGN_OR_RETURN(const std::vector<float> sums, tap_.Sums(tensor));
    hash = hash * 31 + XxHash64(std::as_bytes(std::span(sums)));
    hash = hash * 31 + XxHash64(std::as_bytes(std::span(squares.counts)));
  }
  const auto earlier = output_.stage_hashes.find(stage);
  if (earlier == output_.stage_hashes.end()) return output_.journals[0]->AddStage(stage, hash);
  if (earlier->second == hash) return absl::OkStatus();
  return Error(ErrorCode::kInvalidInput, "the importance of layer ", stage,
               " is not what the interrupted run found, on another machine perhaps: what it wrote "
               "cannot be continued; run the same command again to start over");
}

GatheredImportance ImportanceGatherer::known() const {
  return [this](const PlannedTensor& tensor, uint64_t matrix, std::span<float> out) {
    const auto found = tap_.found().find(static_cast<TensorRef>(tensor.source));
    if (found == tap_.found().end()) return;
    const InputSquares& squares = found->second;
    const bool experts = squares.counts.size() > 1;  // what stacks heads is one matrix here
    const uint64_t first = matrix * out.size(), count = squares.counts[experts ? matrix : 0];
    if (count == 0 || first + out.size() > squares.sums.size()) return;
    for (size_t c = 0; c < out.size(); ++c)
      out[c] = static_cast<float>(squares.sums[first + c] / static_cast<double>(count));
  };
}

}  // namespace smelt
