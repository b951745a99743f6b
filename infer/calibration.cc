#include "infer/calibration.h"

#include <algorithm>

#include "infer/open_backend.h"
#include "lib/base/job_scope.h"
#include "lib/base/mapped_file.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

// What a batch needs while it is in a layer.
constexpr uint64_t kBatchBudget = 96ull << 20;

}  // namespace

absl::StatusOr<std::unique_ptr<Calibration>> Calibration::Open(
    const SpecifiedModel& model, const std::vector<std::vector<int32_t>>& texts,
    const ScoreOptions& options, const Observer& observer, uint64_t in_memory) {
  std::unique_ptr<Calibration> out(new Calibration(options, observer));
  SMELT_ASSIGN_OR_RETURN(out->backend_, OpenBackend(options.device));
  SMELT_ASSIGN_OR_RETURN(out->windows_, CutTexts(texts, options));
  out->tokens_ = TokensOf(out->windows_);
  SMELT_ASSIGN_OR_RETURN(
      out->run_, ModelRun::Create(*model.source, model.spec, options.precision, *out->backend_));
  const uint32_t vocabulary = model.spec.vocabulary;
  for (const Window& w : out->windows_)
    SMELT_RETURN_IF_ERROR(CheckIds({w.ids, w.length}, vocabulary));
  if (options.add_bos) SMELT_RETURN_IF_ERROR(CheckIds({&options.bos, 1}, vocabulary));
  SMELT_RETURN_IF_ERROR(out->MakeParts(in_memory));
  return out;
}

absl::Status Calibration::MakeParts(uint64_t in_memory) {
  const uint64_t batch_tokens =
      std::min(options_.batch_tokens, std::min(kBatchBudget, backend_->activation_bytes()) /
                                          (run_->scratch_bytes_per_token() + 1));
  const Place place = run_->stream_bytes_per_token() * tokens_ <= in_memory ? Place::kMemory
                                                                            : Place::kTemporaryFile;
  for (std::span<const Window> left = windows_; !left.empty();) {
    const size_t count = WindowsInBatch(left, batch_tokens);
    Part& part = parts_.emplace_back();
    part.windows = left.first(count);
    left = left.subspan(count);
    SMELT_ASSIGN_OR_RETURN(Batch * batch, BatchFor(part));
    SMELT_ASSIGN_OR_RETURN(part.stream, run_->NewStream(*batch, count, place));
  }
  return absl::OkStatus();
}

absl::StatusOr<Batch*> Calibration::BatchFor(const Part& part) {
  std::vector<uint64_t> lengths;
  for (const Window& w : part.windows) lengths.push_back(w.length);
  if (batch_ == nullptr || batch_lengths_ != lengths) {
    batch_.reset();
    SMELT_ASSIGN_OR_RETURN(batch_,
                           backend_->NewBatch(SequencesOf(part.windows), LongestOf(windows_)));
    batch_lengths_ = std::move(lengths);
  }
  return batch_.get();
}

template <typename F>
absl::Status Calibration::ForParts(const F& f) {
  for (Part& part : parts_) {
    SMELT_RETURN_IF_ERROR(GoOn());
    SMELT_ASSIGN_OR_RETURN(Batch * batch, BatchFor(part));
    run_->SetStream(std::move(part.stream));
    const absl::Status status = f(part, *batch);
    part.stream = run_->TakeStream();
    SMELT_RETURN_IF_ERROR(status);
  }
  return absl::OkStatus();
}

absl::Status Calibration::Begin() {
  return ForParts([&](const Part& part, Batch& batch) {
    return run_->Embed(batch, IdsOf(part.windows, options_));
  });
}

absl::Status Calibration::Step(size_t layer, Tap* tap) {
  uint64_t done = 0;
  SMELT_RETURN_IF_ERROR(ForParts([&](const Part& part, Batch& batch) {
    SMELT_RETURN_IF_ERROR(run_->RunLayer(layer, batch, tap));
    done += TokensOf(part.windows);
    Report(static_cast<double>(done));
    return absl::OkStatus();
  }));
  ++layers_done_;
  batch_.reset();  // others want the memory
  return absl::OkStatus();
}

absl::Status Calibration::Finish(Tap* tap) {
  SMELT_RETURN_IF_ERROR(ForParts([&](const Part&, Batch& batch) {
    SMELT_RETURN_IF_ERROR(run_->RunFinalNorm(batch));
    return tap == nullptr ? absl::OkStatus()
                          : backend_->Watch(batch, run_->head().output, run_->x(), *tap);
  }));
  return CheckMappedFiles();
}

// A token has gone as far as the share of layers that it went through.
void Calibration::Report(double tokens) {
  const double before = static_cast<double>(layers_done_) * static_cast<double>(tokens_);
  Progress progress;
  progress.phase = "calibrating";
  progress.unit = "tokens";
  progress.total = tokens_;
  progress.done = static_cast<uint64_t>((before + tokens) / static_cast<double>(layers()));
  observer_.Report(progress);
}

}  // namespace smelt
