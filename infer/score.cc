#include "infer/score.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "infer/backend.h"
#include "infer/evaluation.h"
#include "infer/model_run.h"
#include "infer/open_backend.h"
#include "infer/statistics.h"
#include "infer/windows.h"
#include "lib/base/job_scope.h"
#include "lib/base/mapped_file.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Adds the time that it lives to a sum.
class Stopwatch {
 public:
  explicit Stopwatch(double& seconds) : seconds_(seconds), start_(Now()) {}
  ~Stopwatch() { seconds_ += Now() - start_; }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  double& seconds_;
  const double start_;
};

class Scorer : public Evaluation {
 public:
  Scorer(const std::vector<std::vector<int32_t>>& texts, const ScoreOptions& options,
         const Observer& observer)
      : texts_(texts), options_(options), observer_(observer) {}

  absl::Status OpenModels(std::span<const SpecifiedModel> models, const SpecifiedModel* reference) {
    SMELT_ASSIGN_OR_RETURN(backend_, OpenBackend(options_.device));
    SMELT_ASSIGN_OR_RETURN(windows_, CutTexts(texts_, options_));
    total_ = TokensOf(windows_);
    for (const SpecifiedModel& model : models)
      SMELT_RETURN_IF_ERROR(OpenModel(model, CacheTypeOf(options_.device)));
    if (reference != nullptr) SMELT_RETURN_IF_ERROR(OpenModel(*reference, CacheType::kF32));
    losses_.resize(models.size());
    ChooseBatch();
    return absl::OkStatus();
  }

  size_t layers() const override {
    size_t layers = 0;
    for (const auto& run : runs_) layers = std::max(layers, run->spec().layers.size());
    return layers;
  }

  bool more() const override { return next_ < windows_.size(); }

  absl::Status Begin() override {
    const Stopwatch watch(seconds_);
    const std::span<const Window> left = std::span(windows_).subspan(next_);
    windows_at_hand_ = left.first(WindowsInBatch(left, batch_tokens_));
    SMELT_RETURN_IF_ERROR(Prepare());
    ids_ = IdsOf(windows_at_hand_, options_);
    for (const auto& run : runs_) SMELT_RETURN_IF_ERROR(run->Embed(*batch_, ids_));
    return absl::OkStatus();
  }

  absl::Status Step(size_t layer) override {
    const Stopwatch watch(seconds_);
    SMELT_RETURN_IF_ERROR(GoOn());
    SMELT_RETURN_IF_ERROR(MakeBatch());
    for (const auto& run : runs_) SMELT_RETURN_IF_ERROR(run->RunLayer(layer, *batch_));
    Report(static_cast<double>(layer + 1) / static_cast<double>(layers() + 1));
    return absl::OkStatus();
  }

  absl::Status Finish() override {
    const Stopwatch watch(seconds_);
    SMELT_RETURN_IF_ERROR(MakeBatch());
    for (const auto& run : runs_) SMELT_RETURN_IF_ERROR(run->RunFinalNorm(*batch_));
    SMELT_RETURN_IF_ERROR(Score(ids_, windows_at_hand_));
    Report(1);
    done_ += ids_.size();
    next_ += windows_at_hand_.size();
    return absl::OkStatus();
  }

  void Trim() override { batch_.reset(); }

  absl::StatusOr<std::vector<ScoreResult>> Results() override {
    SMELT_RETURN_IF_ERROR(CheckMappedFiles());
    std::vector<ScoreResult> results;
    for (const std::vector<TokenLoss>& losses : losses_) {
      ScoreResult& result = results.emplace_back();
      result.tokens_processed = done_;
      Summarize(losses, compares(), result);
      result.chunks = windows_.size();
      SummarizeTexts(losses, result);
      result.seconds = seconds_;
    }
    return results;
  }

 private:
  /// Whether the last of the runs is a reference.
  bool compares() const { return runs_.size() > losses_.size(); }

  absl::Status OpenModel(const SpecifiedModel& model, CacheType cache) {
    SMELT_ASSIGN_OR_RETURN(
        std::unique_ptr<ModelRun> run,
        ModelRun::Create(*model.source, model.spec, options_.precision, *backend_, cache));
    for (const Window& w : windows_)
      SMELT_RETURN_IF_ERROR(CheckIds({w.ids, w.length}, run->spec().vocabulary));
    if (options_.add_bos)
      SMELT_RETURN_IF_ERROR(CheckIds({&options_.bos, 1}, run->spec().vocabulary));
    runs_.push_back(std::move(run));
    return absl::OkStatus();
  }

  void ChooseBatch() {
    uint64_t scratch = 0, streams = 0;
    for (const auto& run : runs_) {
      scratch = std::max(scratch, run->scratch_bytes_per_token());
      streams += run->spec().width * sizeof(float) * 3 / 2;  // and the scored half once more
    }
    for (size_t i = 1; i < runs_.size(); ++i) streams += runs_[i]->state_bytes_per_token();
    // The 8-bit form of a product's input is a third of it, at most a third of the scratch memory.
    if (options_.precision == Precision::kQ8) scratch += scratch / 3;
    batch_tokens_ =
        std::min(options_.batch_tokens, backend_->activation_bytes() / (scratch + streams + 1));
  }

  absl::Status Prepare() {
    std::vector<uint64_t> lengths;
    for (const Window& w : windows_at_hand_) lengths.push_back(w.length);
    if (batch_ != nullptr && prepared_ == lengths) return absl::OkStatus();
    batch_.reset();
    SMELT_RETURN_IF_ERROR(MakeBatch());
    for (const auto& run : runs_)
      SMELT_RETURN_IF_ERROR(run->Allocate(*batch_, windows_at_hand_.size()));
    prepared_ = std::move(lengths);
    return absl::OkStatus();
  }

  // Of the windows at hand, unless it is there.
  absl::Status MakeBatch() {
    if (batch_ != nullptr) return absl::OkStatus();
    SMELT_ASSIGN_OR_RETURN(batch_,
                           backend_->NewBatch(SequencesOf(windows_at_hand_), LongestOf(windows_)));
    return absl::OkStatus();
  }

  absl::Status Score(std::span<const int32_t> ids, std::span<const Window> windows) {
    std::vector<Target> targets;
    size_t begin = 0;
    for (const Window& w : windows) {
      for (size_t next = begin + w.first_scored; next < begin + w.length; ++next)
        targets.push_back({static_cast<uint32_t>(next - 1), ids[next]});
      begin += w.length;
    }
    std::vector<HeadInput> heads;
    for (const auto& run : runs_) heads.push_back({&run->head(), &run->x()});
    const size_t models = losses_.size();
    std::vector<TokenLoss> losses(models * targets.size());
    SMELT_RETURN_IF_ERROR(backend_->Loss(*batch_, std::span(heads).first(models),
                                         compares() ? &heads.back() : nullptr, targets,
                                         options_.precision, losses));
    for (size_t i = 0; i < models; ++i) {
      const auto first = losses.begin() + static_cast<std::ptrdiff_t>(i * targets.size());
      losses_[i].insert(losses_[i].end(), first,
                        first + static_cast<std::ptrdiff_t>(targets.size()));
    }
    for (size_t i = 0; i < targets.size(); ++i) nll_sum_ += losses[i].nll;
    return absl::OkStatus();
  }

  void SummarizeTexts(std::span<const TokenLoss> losses, ScoreResult& result) const {
    size_t first = 0;
    for (const std::vector<int32_t>& ids : texts_) {
      const Chunks chunks = ChunksOf(ids.size(), options_);
      const size_t scored = chunks.count * (chunks.context - chunks.first_scored);
      TextScore& text = result.texts.emplace_back();
      Summarize(losses.subspan(first, scored), compares(), text);
      text.chunks = chunks.count;
      text.context = chunks.context;
      first += scored;
    }
  }

  // The batch at hand has come so far.
  void Report(double share) {
    Progress progress;
    progress.phase = "checking";
    progress.unit = "tokens";
    progress.total = total_;
    progress.done = done_ + static_cast<uint64_t>(share * static_cast<double>(ids_.size()));
    if (!losses_[0].empty())
      progress.running_value = std::exp(nll_sum_ / static_cast<double>(losses_[0].size()));
    observer_.Report(progress);
  }

  const std::vector<std::vector<int32_t>>& texts_;
  const ScoreOptions options_;
  const Observer& observer_;
  std::unique_ptr<Backend> backend_;
  std::vector<std::unique_ptr<ModelRun>> runs_;  ///< the models', and the reference's
  std::unique_ptr<Batch> batch_;
  std::vector<Window> windows_;
  std::vector<uint64_t> prepared_;  ///< lengths of the batch's windows
  std::span<const Window> windows_at_hand_;
  std::vector<int32_t> ids_;       ///< of the windows at hand
  size_t next_ = 0;                ///< window
  uint64_t total_ = 0, done_ = 0;  ///< tokens
  uint64_t batch_tokens_ = 0;
  std::vector<std::vector<TokenLoss>> losses_;  ///< of each model
  double nll_sum_ = 0, seconds_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Evaluation>> Evaluation::Open(
    std::span<const SpecifiedModel> models, const SpecifiedModel* reference,
    const std::vector<std::vector<int32_t>>& texts, const ScoreOptions& options,
    const Observer& observer) {
  auto scorer = std::make_unique<Scorer>(texts, options, observer);
  SMELT_RETURN_IF_ERROR(scorer->OpenModels(models, reference));
  return std::unique_ptr<Evaluation>(std::move(scorer));
}

absl::Status Evaluation::Round() {
  SMELT_RETURN_IF_ERROR(Begin());
  for (size_t layer = 0; layer < layers(); ++layer) SMELT_RETURN_IF_ERROR(Step(layer));
  return Finish();
}

Chunks ChunksOf(uint64_t ids, const ScoreOptions& options) {
  Chunks out;
  if (ids < 2) return out;
  const bool whole = ids / 2 >= options.context;
  out.context = std::min(ids, options.context);
  out.count = whole ? ids / options.context : 1;
  if (options.chunks != 0) out.count = std::min(out.count, options.chunks);
  // The last token of two or three is scored too.
  out.first_scored = std::min(out.context / 2 + 1, out.context - 1);
  return out;
}

absl::StatusOr<ScoreResult> Score(const SpecifiedModel& model, const SpecifiedModel* reference,
                                  const std::vector<std::vector<int32_t>>& texts,
                                  const ScoreOptions& options, const Observer& observer) {
  const JobScope job(observer);
  SMELT_ASSIGN_OR_RETURN(const std::unique_ptr<Evaluation> evaluation,
                         Evaluation::Open({&model, 1}, reference, texts, options, job.observer()));
  while (evaluation->more()) SMELT_RETURN_IF_ERROR(evaluation->Round());
  SMELT_ASSIGN_OR_RETURN(std::vector<ScoreResult> results, evaluation->Results());
  return std::move(results[0]);
}

absl::StatusOr<ScoreResult> Score(const ModelSource& model, const ModelSource* reference,
                                  const std::vector<std::vector<int32_t>>& texts,
                                  const ScoreOptions& options, const Observer& observer) {
  SpecifiedModel specified{.source = &model, .spec = {}}, other{.source = reference, .spec = {}};
  SMELT_ASSIGN_OR_RETURN(specified.spec, ReadModelSpec(model));
  if (reference == nullptr) return Score(specified, nullptr, texts, options, observer);
  SMELT_ASSIGN_OR_RETURN(other.spec, ReadModelSpec(*reference));
  return Score(specified, &other, texts, options, observer);
}

absl::Status ComputeLogits(
    const ModelSource& model, std::span<const int32_t> ids, Precision precision,
    const std::function<absl::Status(uint64_t, std::span<const float>)>& sink,
    const Observer& observer, const DeviceOptions& device) {
  SpecifiedModel specified{.source = &model, .spec = {}};
  SMELT_ASSIGN_OR_RETURN(specified.spec, ReadModelSpec(model));
  return ComputeLogits(specified, ids, precision, sink, observer, device);
}

absl::Status ComputeLogits(
    const SpecifiedModel& model, std::span<const int32_t> ids, Precision precision,
    const std::function<absl::Status(uint64_t, std::span<const float>)>& sink,
    const Observer& observer, const DeviceOptions& device) {
  if (ids.empty()) return Error(ErrorCode::kInvalidInput, "there are no ids to compute logits for");
  const JobScope job(observer);
  SMELT_ASSIGN_OR_RETURN(const std::unique_ptr<Backend> backend, OpenBackend(device));
  SMELT_ASSIGN_OR_RETURN(const std::unique_ptr<ModelRun> run,
                         ModelRun::Create(*model.source, model.spec, precision, *backend));
  SMELT_RETURN_IF_ERROR(CheckIds(ids, run->spec().vocabulary));
  const Sequence sequence{ids.size(), 0};
  SMELT_ASSIGN_OR_RETURN(const std::unique_ptr<Batch> batch,
                         backend->NewBatch({&sequence, 1}, ids.size()));
  SMELT_RETURN_IF_ERROR(run->Allocate(*batch, 1));
  SMELT_RETURN_IF_ERROR(run->Embed(*batch, ids));
  for (size_t layer = 0; layer < run->spec().layers.size(); ++layer) {
    SMELT_RETURN_IF_ERROR(GoOn());
    SMELT_RETURN_IF_ERROR(run->RunLayer(layer, *batch));
    job.observer().Report({.phase = "evaluating",
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
        backend->Logits(*batch, run->head(), run->x(), tokens, precision, logits));
    for (size_t i = 0; i < tokens.size(); ++i) {
      SMELT_RETURN_IF_ERROR(
          sink(tokens[i], std::span<const float>(logits).subspan(i * vocabulary, vocabulary)));
    }
  }
  return CheckMappedFiles();
}

}  // namespace smelt
