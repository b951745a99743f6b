#include "infer/score.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "infer/backend.h"
#include "infer/model_run.h"
#include "infer/statistics.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

// Activations, keys and values of a batch; with the tiles of the threads and the file caches'
// bookkeeping the process stays below 300 MiB.
constexpr uint64_t kActivationBudget = 150ull << 20;

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

absl::Status Cancelled() { return Error(ErrorCode::kCancelled, "the evaluation was interrupted"); }

class Scorer {
 public:
  Scorer(std::span<const int32_t> ids, const ScoreOptions& options, const Observer& observer)
      : ids_(ids), options_(options), observer_(observer), backend_(NewCpuBackend()) {}

  absl::Status Open(const SpecifiedModel& model, const SpecifiedModel* reference) {
    const uint64_t context = options_.context;
    if (context < 4)
      return Error(ErrorCode::kUsage, "a context of ", context, " tokens; at least 4 are needed");
    if (ids_.size() / 2 < context) {
      return Error(ErrorCode::kInvalidInput, "the text has ", ids_.size(),
                   " tokens, but a context of ", context, " needs at least ", 2 * context,
                   "; give a longer text or a smaller --context");
    }
    chunks_ = ids_.size() / context;
    if (options_.chunks != 0) chunks_ = std::min(chunks_, options_.chunks);
    for (const SpecifiedModel* m : {&model, reference}) {
      if (m == nullptr) continue;
      SMELT_ASSIGN_OR_RETURN(
          std::unique_ptr<ModelRun> run,
          ModelRun::Create(*m->source, m->spec, options_.activations, *backend_));
      SMELT_RETURN_IF_ERROR(CheckIds(ids_.first(chunks_ * context), run->spec().vocabulary));
      if (options_.add_bos)
        SMELT_RETURN_IF_ERROR(CheckIds({&options_.bos, 1}, run->spec().vocabulary));
      runs_.push_back(std::move(run));
    }
    if (reference != nullptr && runs_[0]->head().output.rows != runs_[1]->head().output.rows) {
      return Error(ErrorCode::kInvalidInput, "the models' vocabularies differ (",
                   runs_[0]->head().output.rows, " and ", runs_[1]->head().output.rows,
                   " tokens), so their distributions cannot be compared");
    }
    ChooseBatch();
    return absl::OkStatus();
  }

  absl::StatusOr<ScoreResult> Run() {
    const double start = Now();
    losses_.reserve(chunks_ * (options_.context - 1 - options_.context / 2));
    for (uint64_t chunk = 0; chunk < chunks_; chunk += batch_chunks_) {
      SMELT_RETURN_IF_ERROR(RunBatch(chunk, std::min(batch_chunks_, chunks_ - chunk)));
    }
    ScoreResult result;
    result.chunks = chunks_;
    result.tokens_processed = chunks_ * options_.context;
    Summarize(losses_, runs_.size() > 1, result);
    result.seconds = Now() - start;
    return result;
  }

 private:
  void ChooseBatch() {
    uint64_t scratch = 0, streams = 0;
    for (const auto& run : runs_) {
      scratch = std::max(scratch, run->scratch_bytes_per_token());
      streams += run->spec().width * sizeof(float) * 3 / 2;  // and the scored half once more
    }
    // The 8-bit form of a product's input is a third of it, at most a third of the scratch memory.
    if (options_.activations == Activations::kQ8) scratch += scratch / 3;
    const uint64_t fit = kActivationBudget / (scratch + streams + 1);
    batch_chunks_ =
        std::clamp<uint64_t>(std::min(options_.batch_tokens, fit) / options_.context, 1, chunks_);
  }

  // The batch's ids, each chunk begun by BOS where the model wants it.
  std::vector<int32_t> BatchIds(uint64_t first, uint64_t count) const {
    const auto from = ids_.begin() + static_cast<ptrdiff_t>(first * options_.context);
    std::vector<int32_t> ids(from, from + static_cast<ptrdiff_t>(count * options_.context));
    for (uint64_t c = 0; options_.add_bos && c < count; ++c)
      ids[c * options_.context] = options_.bos;
    return ids;
  }

  absl::Status Prepare(uint64_t count) {
    if (batch_ != nullptr && prepared_ == count) return absl::OkStatus();
    const std::vector<Sequence> sequences(count, Sequence{options_.context, 0});
    batch_.reset();
    SMELT_ASSIGN_OR_RETURN(batch_, backend_->NewBatch(sequences, options_.context));
    for (const auto& run : runs_) SMELT_RETURN_IF_ERROR(run->Allocate(*batch_, count));
    prepared_ = count;
    return absl::OkStatus();
  }

  absl::Status RunBatch(uint64_t first, uint64_t count) {
    SMELT_RETURN_IF_ERROR(Prepare(count));
    const std::vector<int32_t> ids = BatchIds(first, count);
    size_t layers = 0;
    for (const auto& run : runs_) {
      SMELT_RETURN_IF_ERROR(run->Embed(*batch_, ids));
      layers = std::max(layers, run->spec().layers.size());
    }
    for (size_t layer = 0; layer < layers; ++layer) {
      if (observer_.Cancelled()) return Cancelled();
      for (const auto& run : runs_) SMELT_RETURN_IF_ERROR(run->RunLayer(layer, *batch_));
      Report(first, count, static_cast<double>(layer + 1) / static_cast<double>(layers + 1));
    }
    if (observer_.Cancelled()) return Cancelled();
    for (const auto& run : runs_) SMELT_RETURN_IF_ERROR(run->RunFinalNorm(*batch_));
    return Score(ids, first, count);
  }

  absl::Status Score(std::span<const int32_t> ids, uint64_t first, uint64_t count) {
    const uint64_t context = options_.context;
    std::vector<Target> targets;
    for (uint64_t c = 0; c < count; ++c) {
      for (uint64_t i = context / 2; i + 1 < context; ++i)
        targets.push_back({static_cast<uint32_t>(c * context + i), ids[c * context + i + 1]});
    }
    const size_t before = losses_.size();
    losses_.resize(before + targets.size());
    const bool pair = runs_.size() > 1;
    SMELT_RETURN_IF_ERROR(backend_->Loss(*batch_, runs_[0]->head(), runs_[0]->x(),
                                         pair ? &runs_[1]->head() : nullptr,
                                         pair ? &runs_[1]->x() : nullptr, targets,
                                         options_.activations, std::span(losses_).subspan(before)));
    for (size_t i = before; i < losses_.size(); ++i) nll_sum_ += losses_[i].nll;
    Report(first, count, 1);
    return absl::OkStatus();
  }

  void Report(uint64_t first, uint64_t count, double share) {
    Progress progress;
    progress.phase = "checking";
    progress.unit = "tokens";
    progress.total = chunks_ * options_.context;
    progress.done = first * options_.context +
                    static_cast<uint64_t>(share * static_cast<double>(count * options_.context));
    if (!losses_.empty())
      progress.running_value = std::exp(nll_sum_ / static_cast<double>(losses_.size()));
    observer_.Report(progress);
  }

  std::span<const int32_t> ids_;
  const ScoreOptions& options_;
  const Observer& observer_;
  std::unique_ptr<Backend> backend_;
  std::vector<std::unique_ptr<ModelRun>> runs_;
  std::unique_ptr<Batch> batch_;
  uint64_t chunks_ = 0, batch_chunks_ = 1, prepared_ = 0;
  std::vector<TokenLoss> losses_;
  double nll_sum_ = 0;
};

}  // namespace

absl::StatusOr<ScoreResult> Score(const SpecifiedModel& model, const SpecifiedModel* reference,
                                  std::span<const int32_t> ids, const ScoreOptions& options,
                                  const Observer& observer) {
  Scorer scorer(ids, options, observer);
  SMELT_RETURN_IF_ERROR(scorer.Open(model, reference));
  return scorer.Run();
}

absl::StatusOr<ScoreResult> Score(const ModelSource& model, const ModelSource* reference,
                                  std::span<const int32_t> ids, const ScoreOptions& options,
                                  const Observer& observer) {
  SpecifiedModel specified{.source = &model, .spec = {}}, other{.source = reference, .spec = {}};
  SMELT_ASSIGN_OR_RETURN(specified.spec, ReadModelSpec(model));
  if (reference == nullptr) return Score(specified, nullptr, ids, options, observer);
  SMELT_ASSIGN_OR_RETURN(other.spec, ReadModelSpec(*reference));
  return Score(specified, &other, ids, options, observer);
}

absl::Status ComputeLogits(
    const ModelSource& model, std::span<const int32_t> ids, Activations activations,
    const std::function<absl::Status(uint64_t, std::span<const float>)>& sink,
    const Observer& observer) {
  SpecifiedModel specified{.source = &model, .spec = {}};
  SMELT_ASSIGN_OR_RETURN(specified.spec, ReadModelSpec(model));
  return ComputeLogits(specified, ids, activations, sink, observer);
}

absl::Status ComputeLogits(
    const SpecifiedModel& model, std::span<const int32_t> ids, Activations activations,
    const std::function<absl::Status(uint64_t, std::span<const float>)>& sink,
    const Observer& observer) {
  if (ids.empty()) return Error(ErrorCode::kInvalidInput, "there are no ids to compute logits for");
  const std::unique_ptr<Backend> backend = NewCpuBackend();
  SMELT_ASSIGN_OR_RETURN(const std::unique_ptr<ModelRun> run,
                         ModelRun::Create(*model.source, model.spec, activations, *backend));
  SMELT_RETURN_IF_ERROR(CheckIds(ids, run->spec().vocabulary));
  const Sequence sequence{ids.size(), 0};
  SMELT_ASSIGN_OR_RETURN(const std::unique_ptr<Batch> batch,
                         backend->NewBatch({&sequence, 1}, ids.size()));
  SMELT_RETURN_IF_ERROR(run->Allocate(*batch, 1));
  SMELT_RETURN_IF_ERROR(run->Embed(*batch, ids));
  for (size_t layer = 0; layer < run->spec().layers.size(); ++layer) {
    if (observer.Cancelled()) return Cancelled();
    SMELT_RETURN_IF_ERROR(run->RunLayer(layer, *batch));
    observer.Report({.phase = "evaluating",
                     .done = layer + 1,
                     .total = run->spec().layers.size(),
                     .unit = "layers"});
  }
  SMELT_RETURN_IF_ERROR(run->RunFinalNorm(*batch));
  // A few rows at a time: a matrix of all logits may be larger than the model.
  constexpr uint64_t kRowsAtOnce = 32;
  std::vector<uint32_t> tokens;
  std::vector<float> logits;
  for (uint64_t first = 0; first < ids.size(); first += kRowsAtOnce) {
    tokens.clear();
    for (uint64_t t = first; t < std::min<uint64_t>(ids.size(), first + kRowsAtOnce); ++t)
      tokens.push_back(static_cast<uint32_t>(t));
    const size_t vocabulary = run->head().output.rows;
    logits.resize(tokens.size() * vocabulary);
    SMELT_RETURN_IF_ERROR(
        backend->Logits(*batch, run->head(), run->x(), tokens, activations, logits));
    for (size_t i = 0; i < tokens.size(); ++i) {
      SMELT_RETURN_IF_ERROR(
          sink(tokens[i], std::span<const float>(logits).subspan(i * vocabulary, vocabulary)));
    }
  }
  return absl::OkStatus();
}

}  // namespace smelt
