#include "lib/jobs/walk.h"

#include <memory>
#include <span>
#include <utility>

#include "formats/gguf.h"
#include "lib/base/job_scope.h"
#include "lib/base/status.h"
#include "lib/jobs/gate.h"
#include "lib/jobs/gathered_statistics.h"
#include "lib/jobs/stages.h"
#include "lib/model/gguf_source.h"
#include "lib/model/layer_spec.h"

namespace smelt {
namespace {

// The part read as a GGUF: what a user will open. Its header is complete from the start.
absl::StatusOr<std::unique_ptr<ModelSource>> Reopen(const Walk& walk, const PartialOutput& output) {
  SMELT_ASSIGN_OR_RETURN(GgufFile file, OpenGgufParts(output.part_paths()));
  // What is mapped is never opened again: it would not be the file that it was, since it is being
  // written. Where a file cannot be mapped, it stays open as long as the system has room.
  for (const auto& part : file.files) part->Map().status().IgnoreError();
  if (file.tensors.size() != walk.plan.tensors.size()) {
    return Error(ErrorCode::kInternal, Escape(walk.name),
                 ": what was written does not read back as planned");
  }
  return MakeGgufSource(walk.name, std::move(file));
}

/// Everything at once, where no layer needs to be known or run.
absl::Status FillAll(const Walk& walk, PartialOutput& output, MemoryPeak& peak) {
  const FillTarget target{&walk.plan, &output};
  SMELT_RETURN_IF_ERROR(Fill(std::span(&target, 1), walk.source, walk.observer, peak));
  return Reopen(walk, output).status();
}

/// The walk's parts, each of them taken a stage further in turn.
class Walker {
 public:
  Walker(const Walk& walk, PartialOutput& output, MemoryPeak& peak)
      : walk_(walk), output_(output), peak_(peak), target_{&walk.plan, &output} {}

  absl::StatusOr<std::optional<EvaluateResult>> Run() {
    SMELT_RETURN_IF_ERROR(Begin());
    for (size_t layer = 0; layer < stages_.layers.size(); ++layer) {
      if (gatherer_ != nullptr) SMELT_RETURN_IF_ERROR(gatherer_->Step(layer));
      SMELT_RETURN_IF_ERROR(Encode(stages_.layers[layer]));
      if (gate_ != nullptr) SMELT_RETURN_IF_ERROR(gate_->Step(layer));
    }
    if (gatherer_ != nullptr) SMELT_RETURN_IF_ERROR(gatherer_->Finish());
    SMELT_RETURN_IF_ERROR(Encode(stages_.head));
    if (gate_ == nullptr) return std::optional<EvaluateResult>();
    SMELT_ASSIGN_OR_RETURN(EvaluateResult result, gate_->Finish());
    return std::optional<EvaluateResult>(std::move(result));
  }

 private:
  absl::Status Begin() {
    SMELT_ASSIGN_OR_RETURN(const ModelSpec spec, ReadModelSpec(walk_.source));
    stages_ = StagesOf(walk_.plan, spec.layers.size());
    if (walk_.plan.gathering) {
      SMELT_ASSIGN_OR_RETURN(
          gatherer_, StatisticsGatherer::Open(walk_.source, walk_.plan, walk_.observer, output_));
      SMELT_RETURN_IF_ERROR(gatherer_->Begin());
    }
    SMELT_ASSIGN_OR_RETURN(
        filler_, Filler::Open(std::span(&target_, 1), walk_.source, walk_.observer, peak_));
    SMELT_RETURN_IF_ERROR(filler_->Encode(stages_.embedding));
    SMELT_ASSIGN_OR_RETURN(written_, Reopen(walk_, output_));
    if (walk_.validate == Validate::kOff) return absl::OkStatus();
    SMELT_ASSIGN_OR_RETURN(gate_, Gate::Open(*written_, walk_.source, walk_.plan, walk_.options,
                                             walk_.texts, walk_.observer, peak_));
    return gate_->Begin();
  }

  absl::Status Encode(std::span<const size_t> tensors) {
    return gatherer_ != nullptr ? gatherer_->Encode(*filler_, tensors) : filler_->Encode(tensors);
  }

  const Walk& walk_;
  PartialOutput& output_;
  MemoryPeak& peak_;
  const FillTarget target_;
  Stages stages_;
  std::unique_ptr<StatisticsGatherer> gatherer_;
  std::unique_ptr<Filler> filler_;
  std::unique_ptr<ModelSource> written_;
  std::unique_ptr<Gate> gate_;
};

}  // namespace

std::string DescribeWalk(const Plan& plan, Validate validate) {
  if (validate == Validate::kOff && !plan.gathering)
    return "tensor by tensor, the source read once";
  std::string text = "layer by layer: ";
  if (plan.gathering)
    text += plan.gathering->moments ? "run for its inputs' statistics, " : "run for importance, ";
  text += "written";
  if (validate != Validate::kOff) text += ", checked";
  text += "; the source read once";
  if (validate == Validate::kFull)
    text += ", and again for what the full check has besides one batch";
  return text;
}

absl::StatusOr<std::optional<EvaluateResult>> WalkThrough(const Walk& walk, PartialOutput& output,
                                                          MemoryPeak& peak) {
  if (walk.validate == Validate::kOff && !walk.plan.gathering) {
    SMELT_RETURN_IF_ERROR(FillAll(walk, output, peak));
    return std::optional<EvaluateResult>();
  }
  return Walker(walk, output, peak).Run();
}

}  // namespace smelt
