#include "infer/sensitivity.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "lib/base/job_scope.h"
#include "lib/base/mapped_file.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

/// Variants that are compared with the model in one pass over the vocabulary.
constexpr size_t kAtOnce = 4;

}  // namespace

absl::StatusOr<std::unique_ptr<Sensitivity>> Sensitivity::Open(
    const SpecifiedModel& model, const std::vector<std::vector<int32_t>>& texts,
    const ScoreOptions& options, uint64_t skip, size_t variants) {
  std::unique_ptr<Sensitivity> out(new Sensitivity(options));
  out->source_ = model.source;
  SMELT_ASSIGN_OR_RETURN(out->windows_, CutTexts(texts, options));
  SMELT_ASSIGN_OR_RETURN(
      out->run_, ModelRun::Create(*model.source, model.spec, options.precision, *out->backend_));
  out->ids_ = IdsOf(out->windows_, options);
  SMELT_RETURN_IF_ERROR(CheckIds(out->ids_, model.spec.vocabulary));
  SMELT_RETURN_IF_ERROR(out->MakeTargets(skip));
  const uint64_t streams = out->run_->stream_bytes_per_token() * out->tokens() * (variants + 1);
  if (streams > kStreamsInMemory) out->place_ = Place::kTemporaryFile;
  SMELT_ASSIGN_OR_RETURN(
      out->batch_, out->backend_->NewBatch(SequencesOf(out->windows_), LongestOf(out->windows_)));
  return out;
}

absl::Status Sensitivity::MakeTargets(uint64_t skip) {
  size_t begin = 0;
  for (const Window& w : windows_) {
    for (size_t next = begin + std::min(skip, w.length - 2) + 1; next < begin + w.length; ++next)
      targets_.push_back({static_cast<uint32_t>(next - 1), w.ids[next - begin]});
    begin += w.length;
  }
  return absl::OkStatus();
}

absl::Status Sensitivity::Begin(Variants variants) {
  SMELT_ASSIGN_OR_RETURN(Stream stream, run_->NewStream(*batch_, windows_.size(), place_));
  run_->SetStream(std::move(stream));
  SMELT_RETURN_IF_ERROR(run_->Embed(*batch_, ids_));
  base_ = run_->TakeStream();
  for (const ModelSource* const variant : variants) {
    SMELT_ASSIGN_OR_RETURN(const std::unique_ptr<ModelRun> run,
                           ModelRun::Create(*variant, run_->spec(), options_.precision, *backend_));
    SMELT_ASSIGN_OR_RETURN(stream, run->NewStream(*batch_, windows_.size(), place_));
    run->SetStream(std::move(stream));
    SMELT_RETURN_IF_ERROR(run->Embed(*batch_, ids_));
    copies_.push_back(run->TakeStream());
  }
  return absl::OkStatus();
}

absl::Status Sensitivity::RunLayer(Stream& stream, size_t layer, Tap* tap,
                                   const ModelSource* variant) {
  SMELT_RETURN_IF_ERROR(GoOn());
  run_->SetStream(std::move(stream));
  const absl::Status status = run_->RunLayer(layer, *batch_, tap, variant);
  stream = run_->TakeStream();
  return status;
}

absl::Status Sensitivity::Step(size_t layer, Variants variants, Tap* tap) {
  for (Stream& copy : copies_) SMELT_RETURN_IF_ERROR(RunLayer(copy, layer, nullptr, nullptr));
  for (const ModelSource* const variant : variants) {
    SMELT_ASSIGN_OR_RETURN(Stream copy, CopyStream(base_, place_));
    SMELT_RETURN_IF_ERROR(RunLayer(copy, layer, nullptr, variant));
    copies_.push_back(std::move(copy));
  }
  return RunLayer(base_, layer, tap, nullptr);
}

absl::Status Sensitivity::NormAll() {
  const auto norm = [&](Stream& stream) {
    run_->SetStream(std::move(stream));
    const absl::Status status = run_->RunFinalNorm(*batch_);
    stream = run_->TakeStream();
    return status;
  };
  SMELT_RETURN_IF_ERROR(norm(base_));
  for (Stream& copy : copies_) SMELT_RETURN_IF_ERROR(norm(copy));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<double>> Sensitivity::Finish(Variants variants,
                                                        std::optional<Tied> tied) {
  SMELT_RETURN_IF_ERROR(NormAll());
  std::vector<Head> heads;  // with changed weights
  heads.reserve(variants.size() + 1);
  const auto lower = [&](const ModelSource& source) -> absl::StatusOr<const Head*> {
    SMELT_ASSIGN_OR_RETURN(Head head,
                           LowerHead(run_->spec(), source, WeightUse::kStream, *backend_));
    return &heads.emplace_back(std::move(head));
  };
  std::vector<HeadInput> inputs;
  for (const Stream& copy : copies_) inputs.push_back({&run_->head(), copy.x.get()});
  if (tied) {
    SMELT_ASSIGN_OR_RETURN(inputs[tied->variant].head, lower(*tied->source));
  }
  for (const ModelSource* const variant : variants) {
    SMELT_ASSIGN_OR_RETURN(const Head* const head, lower(*variant));
    inputs.push_back({head, base_.x.get()});
  }
  std::vector<double> out;
  for (size_t first = 0; first < inputs.size(); first += kAtOnce) {
    SMELT_RETURN_IF_ERROR(GoOn());
    SMELT_RETURN_IF_ERROR(
        AddLosses(std::span(inputs).subspan(first, std::min(kAtOnce, inputs.size() - first)), out));
  }
  SMELT_RETURN_IF_ERROR(CheckMappedFiles());
  return out;
}

absl::Status Sensitivity::AddLosses(std::span<const HeadInput> heads, std::vector<double>& out) {
  const HeadInput reference{&run_->head(), base_.x.get()};
  std::vector<TokenLoss> losses(heads.size() * targets_.size());
  SMELT_RETURN_IF_ERROR(
      backend_->Loss(*batch_, heads, &reference, targets_, options_.precision, losses));
  for (size_t i = 0; i < heads.size(); ++i) {
    double sum = 0;
    for (const TokenLoss& loss : std::span(losses).subspan(i * targets_.size(), targets_.size()))
      sum += loss.finite ? loss.kl : std::numeric_limits<double>::infinity();
    out.push_back(sum / static_cast<double>(targets_.size()));
  }
  return absl::OkStatus();
}

}  // namespace smelt
