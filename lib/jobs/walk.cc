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

// A part read as a GGUF: what a user will open. Its header is complete from the start.
absl::StatusOr<std::unique_ptr<ModelSource>> Reopen(const FillTarget& target,
                                                    const std::string& name) {
  SMELT_ASSIGN_OR_RETURN(GgufFile file, OpenGgufParts(target.output->part_paths()));
  // What is mapped is never opened again: it would not be the file that it was, since it is being
  // written. Where a file cannot be mapped, it stays open as long as the system has room.
  for (const auto& part : file.files) part->Map().status().IgnoreError();
  if (file.tensors.size() != target.plan->tensors.size()) {
    return Error(ErrorCode::kInternal, Escape(name),
                 ": what was written does not read back as planned");
  }
  return MakeGgufSource(name, std::move(file));
}

/// Everything at once, where no layer needs to be known or run.
absl::Status FillAll(const Walk& walk, MemoryPeak& peak) {
  SMELT_RETURN_IF_ERROR(Fill(walk.targets, walk.source, walk.observer, peak));
  for (size_t i = 0; i < walk.targets.size(); ++i)
    SMELT_RETURN_IF_ERROR(Reopen(walk.targets[i], walk.names[i]).status());
  return absl::OkStatus();
}

/// What is gathered for the outputs, which all have the same options; nullptr: nothing.
const Gathering* GatheringOf(std::span<const FillTarget> targets) {
  for (const FillTarget& target : targets)
    if (target.plan->gathering) return &*target.plan->gathering;
  return nullptr;
}

/// The walk's parts, each of them taken a stage further in turn.
class Walker {
 public:
  Walker(const Walk& walk, MemoryPeak& peak) : walk_(walk), peak_(peak) {}

  absl::StatusOr<std::vector<EvaluateResult>> Run() {
    SMELT_RETURN_IF_ERROR(Begin());
    for (size_t layer = 0; layer < stages_.layers.size(); ++layer) {
      if (gatherer_ != nullptr) SMELT_RETURN_IF_ERROR(gatherer_->Step(layer));
      SMELT_RETURN_IF_ERROR(Encode(stages_.layers[layer]));
      if (gate_ != nullptr) SMELT_RETURN_IF_ERROR(gate_->Step(layer));
      if (crowded_) DropPages(stages_.layers[layer]);
    }
    if (gatherer_ != nullptr) SMELT_RETURN_IF_ERROR(gatherer_->Finish());
    SMELT_RETURN_IF_ERROR(Encode(stages_.head));
    if (gate_ == nullptr) return std::vector<EvaluateResult>();
    return gate_->Finish();
  }

 private:
  absl::Status Begin() {
    SMELT_ASSIGN_OR_RETURN(const ModelSpec spec, ReadModelSpec(walk_.source));
    std::vector<const Plan*> plans;
    for (const FillTarget& target : walk_.targets) plans.push_back(target.plan);
    stages_ = StagesOf(walk_.source, plans, spec.layers.size());
    crowded_ = walk_.memory && BytesOfFiles() > *walk_.memory;
    if (const Gathering* const gathering = GatheringOf(walk_.targets)) {
      SMELT_ASSIGN_OR_RETURN(gatherer_, StatisticsGatherer::Open(walk_.source, *gathering,
                                                                 walk_.targets, walk_.observer));
      SMELT_RETURN_IF_ERROR(gatherer_->Begin());
    }
    SMELT_ASSIGN_OR_RETURN(filler_,
                           Filler::Open(walk_.targets, walk_.source, walk_.observer, peak_));
    SMELT_RETURN_IF_ERROR(gatherer_ != nullptr
                              ? gatherer_->EncodeEmbedding(*filler_, stages_.embedding)
                              : filler_->Encode(stages_.embedding));
    std::vector<WrittenModel> models;
    for (size_t i = 0; i < walk_.targets.size(); ++i) {
      SMELT_ASSIGN_OR_RETURN(written_.emplace_back(), Reopen(walk_.targets[i], walk_.names[i]));
      models.push_back({written_.back().get(), walk_.targets[i].plan});
    }
    if (walk_.validate == Validate::kOff) return absl::OkStatus();
    SMELT_ASSIGN_OR_RETURN(
        gate_, Gate::Open(models, walk_.source, walk_.options, walk_.texts, walk_.observer, peak_));
    return gate_->Begin();
  }

  uint64_t BytesOfFiles() const {
    uint64_t bytes = 0;
    for (const TensorInfo& tensor : walk_.source.tensors())
      bytes +=
          RowBytes(tensor.file_type(), tensor.shape.columns()).value_or(0) * tensor.shape.rows();
    for (const FillTarget& target : walk_.targets) bytes += target.plan->file_bytes;
    return bytes;
  }

  /// A layer is done. Left to itself the system would keep the source's pages, which nobody reads
  /// again, and give up those that were written a moment ago and are about to be run.
  void DropPages(std::span<const size_t> layer) const {
    for (const size_t tensor : layer) {
      walk_.source.DropPages(tensor);
      for (const auto& written : written_) {
        const int found = written->Find(walk_.source.tensors()[tensor].name);
        if (found >= 0) written->DropPages(static_cast<size_t>(found));
      }
    }
  }

  absl::Status Encode(std::span<const size_t> tensors) {
    return gatherer_ != nullptr ? gatherer_->Encode(*filler_, tensors) : filler_->Encode(tensors);
  }

  const Walk& walk_;
  MemoryPeak& peak_;
  Stages stages_;
  bool crowded_ = false;  ///< source and outputs are larger than the memory that there is for files
  std::unique_ptr<StatisticsGatherer> gatherer_;
  std::unique_ptr<Filler> filler_;
  std::vector<std::unique_ptr<ModelSource>> written_;
  std::unique_ptr<Gate> gate_;
};

}  // namespace

std::string DescribeWalk(const Plan& plan, Validate validate) {
  if (validate == Validate::kOff && !plan.gathering)
    return "tensor by tensor, the source read once";
  std::string text = "layer by layer: ";
  if (plan.gathering) {
    text += plan.gathering->kept != nullptr ? "its inputs' statistics read, "
            : plan.gathering->moments       ? "run for its inputs' statistics, "
                                            : "run for importance, ";
  }
  text += "written";
  if (validate != Validate::kOff) text += ", checked";
  text += "; the source read once";
  if (validate == Validate::kFull)
    text += ", and again for what the full check has besides one batch";
  return text;
}

absl::StatusOr<std::vector<EvaluateResult>> WalkThrough(const Walk& walk, MemoryPeak& peak) {
  if (walk.validate == Validate::kOff && GatheringOf(walk.targets) == nullptr) {
    SMELT_RETURN_IF_ERROR(FillAll(walk, peak));
    return std::vector<EvaluateResult>();
  }
  return Walker(walk, peak).Run();
}

}  // namespace smelt
