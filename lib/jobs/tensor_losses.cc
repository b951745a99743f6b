#include "lib/jobs/tensor_losses.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <string>

#include "infer/calibration.h"
#include "infer/sensitivity.h"
#include "lib/base/job_scope.h"
#include "lib/base/parallel.h"
#include "lib/base/status.h"
#include "lib/jobs/bundled_text.h"
#include "lib/jobs/embedding_factor.h"
#include "lib/jobs/evaluation_texts.h"
#include "lib/jobs/gathered_statistics.h"
#include "lib/jobs/kept_statistics.h"
#include "lib/jobs/plan_importance.h"
#include "lib/jobs/stages.h"
#include "lib/jobs/statistics_tap.h"
#include "lib/jobs/text_ids.h"
#include "lib/jobs/trained_context.h"
#include "lib/model/forwarding_source.h"
#include "lib/model/layer_spec.h"
#include "quant/codec.h"
#include "quant/encoder.h"
#include "quant/input_factor.h"

namespace smelt {
namespace {

// Coarse enough that what it does to the predictions stands out, and dividing whatever can be
// quantized at all.
constexpr TensorType kCoarse = TensorType::kQ4_0;

// What readers have fast kernels for, from two bits on.
constexpr TensorType kCandidates[] = {
    TensorType::kIQ2_XXS, TensorType::kIQ2_XS, TensorType::kIQ2_S, TensorType::kQ2_K,
    TensorType::kIQ3_XXS, TensorType::kIQ3_S,  TensorType::kQ3_K,  TensorType::kIQ4_XS,
    TensorType::kIQ4_NL,  TensorType::kQ4_0,   TensorType::kQ4_K,  TensorType::kQ4_1,
    TensorType::kQ5_0,    TensorType::kQ5_K,   TensorType::kQ5_1,  TensorType::kQ6_K,
    TensorType::kQ8_0};

/// Of a tensor, in runs that are read together, each within one matrix.
struct Rows {
  uint64_t runs, rows;
};
constexpr Rows kRowsOfMatrix = {2, 16}, kRowsOfExperts = {4, 8};

// Of the text that second moments are gathered from, unless a file has them: fewer than the walk
// takes, which rounds by them.
constexpr uint64_t kMomentTokens = 8192;

constexpr uint64_t kContext = 128, kSkip = 16;
/// Chunks for models of up to so many parameters: each costs, for each tensor, half a pass through
/// the model.
struct Size {
  uint64_t parameters, chunks;
};
constexpr Size kSizes[] = {{1'000'000'000, 4}, {UINT64_MAX, 2}};

uint64_t ChunksOf(const Plan& plan) {
  return std::ranges::find_if(kSizes,
                              [&](const Size& s) { return plan.parameters <= s.parameters; })
      ->chunks;
}

/// A model with one tensor in the coarse type.
class Coarsened : public ForwardingSource {
 public:
  Coarsened(const ModelSource& source, size_t tensor) : ForwardingSource(source), tensor_(tensor) {}

  absl::Status ReadRows(size_t tensor, uint64_t first, uint64_t count, float* out) const override {
    SMELT_RETURN_IF_ERROR(base().ReadRows(tensor, first, count, out));
    if (tensor != tensor_) return absl::OkStatus();
    const uint64_t columns = tensors()[tensor].shape.columns();
    std::vector<std::byte> bytes(count * RowBytes(kCoarse, columns).value_or(0));
    EncodeScratch scratch;
    FindEncoder(kCoarse)->Encode(count, columns, out, {}, bytes.data(), scratch);
    FindCodec(kCoarse)->Decode(bytes.data(), count * columns, out);
    return absl::OkStatus();
  }
  absl::Status ReadRawRows(size_t tensor, uint64_t first, uint64_t count,
                           std::byte* out) const override {
    if (tensor == tensor_) return Computed();
    return base().ReadRawRows(tensor, first, count, out);
  }
  absl::StatusOr<MappedRows> MapRows(size_t tensor) const override {
    if (tensor == tensor_) return Computed();
    return base().MapRows(tensor);
  }

 private:
  absl::Status Computed() const {
    return Error(ErrorCode::kUnsupported, "tensor ", Escape(tensors()[tensor_].name),
                 " is computed, it has no stored rows");
  }

  const size_t tensor_;
};

/// Rows of one matrix that stand for it.
struct RowRun {
  size_t tensor = 0;  ///< of the source
  uint64_t matrix = 0, first = 0, rows = 0;
};

/// Rows, with what is known of their inputs.
struct Sample {
  uint64_t rows = 0, columns = 0;
  std::vector<float> values, importance;  ///< importance empty: unknown
  const InputFactor* factor = nullptr;

  /// What the matrix' products lose, in units of which all rows of its tensor have the same.
  double ErrorOf(TensorType type, Effort effort, bool with_statistics) const {
    std::vector<std::byte> bytes(rows * *RowBytes(type, columns));
    std::vector<float> off(values.size());
    EncodeScratch scratch;
    InputStatistics statistics;
    if (with_statistics) statistics = {.importance = importance, .factor = factor};
    FindEncoder(type, effort)
        ->Encode(rows, columns, values.data(), statistics, bytes.data(), scratch);
    FindCodec(type)->Decode(bytes.data(), off.size(), off.data());
    for (size_t i = 0; i < off.size(); ++i) off[i] = values[i] - off[i];
    if (factor != nullptr) return MeanSquare() * factor->ErrorOf(rows, off);
    double error = 0;
    for (size_t i = 0; i < off.size(); ++i) {
      const double weight = importance.empty() ? 1 : static_cast<double>(importance[i % columns]);
      error += weight * static_cast<double>(off[i]) * static_cast<double>(off[i]);
    }
    return error;
  }

 private:
  // Of the inputs: a factor is in units of it.
  double MeanSquare() const {
    if (importance.empty()) return 1;
    return std::accumulate(importance.begin(), importance.end(), 0.0) /
           static_cast<double>(columns);
  }
};

/// One measurement.
class Meter {
 public:
  Meter(const ModelSource& source, const Plan& plan, const std::vector<size_t>& wanted,
        const Observer& observer)
      : source_(source), plan_(plan), observer_(observer), tap_(source, WithMoments(source, plan)) {
    for (const size_t i : wanted) by_source_[plan.tensors[i].source] = i;
  }

  absl::StatusOr<std::vector<TensorLosses>> Run() {
    SMELT_RETURN_IF_ERROR(Open());
    const Plan* const plans[] = {&plan_};
    const Stages stages = StagesOf(source_, plans, sensitivity_->layers());
    std::vector<size_t> inputs, outputs;
    bool tied = false;
    for (const size_t tensor : stages.embedding) {
      if (by_source_.contains(tensor) && IsOf(tensor, spec_.embedding)) inputs.push_back(tensor);
    }
    for (const std::vector<size_t>* const stage : {&stages.embedding, &stages.head}) {
      for (const size_t tensor : *stage) {
        if (!by_source_.contains(tensor) || !IsOf(tensor, spec_.output.weight)) continue;
        tied = !inputs.empty() && inputs[0] == tensor;
        if (!tied) outputs.push_back(tensor);
      }
    }
    SMELT_RETURN_IF_ERROR(With(inputs, [&](Variants v) { return sensitivity_->Begin(v); }));
    for (size_t layer = 0; layer < stages.layers.size(); ++layer) {
      SMELT_RETURN_IF_ERROR(Gather(layer));
      Tap* const tap = plan_.gathering ? nullptr : &tap_;
      SMELT_RETURN_IF_ERROR(With(stages.layers[layer],
                                 [&](Variants v) { return sensitivity_->Step(layer, v, tap); }));
      observer_.Report({.phase = "measuring",
                        .done = layer + 1,
                        .total = stages.layers.size(),
                        .unit = "layers"});
    }
    SMELT_RETURN_IF_ERROR(Gather(stages.layers.size()));
    std::vector<double> losses;
    const auto finish = [&](Variants v) -> absl::Status {
      std::optional<Sensitivity::Tied> both;
      std::unique_ptr<Coarsened> source;
      if (tied) {
        source = std::make_unique<Coarsened>(source_, inputs[0]);
        both = {0, source.get()};
      }
      SMELT_ASSIGN_OR_RETURN(losses, sensitivity_->Finish(v, both));
      return absl::OkStatus();
    };
    SMELT_RETURN_IF_ERROR(With(outputs, finish));
    return Scaled(losses);
  }

 private:
  static bool IsOf(size_t tensor, TensorRef ref) {
    return ref != kNoTensor && static_cast<size_t>(ref) == tensor;
  }

  absl::Status Open() {
    SMELT_ASSIGN_OR_RETURN(spec_, ReadModelSpec(source_));
    absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = TokenizerOf(source_);
    if (!tokenizer.ok()) {
      return Error(CodeOf(tokenizer.status()), std::string(tokenizer.status().message()),
                   "; a size to order needs it to read a text: name a --type instead");
    }
    std::vector<NamedText> texts = {{"", std::string(BundledCalibrationText())}};
    if (!plan_.options.calibration.empty()) {
      SMELT_ASSIGN_OR_RETURN(texts, ReadEvaluationTexts(plan_.options.calibration, {}));
    }
    ScoreOptions options{
        .context = kContext, .add_bos = (*tokenizer)->adds_bos(), .bos = (*tokenizer)->bos()};
    if (const uint64_t trained = TrainedContext(source_); trained > 0)
      options.context = std::min(options.context, trained);
    const uint64_t chunks = ChunksOf(plan_);
    for (const NamedText& text : texts) {
      SMELT_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, EvaluationIds(**tokenizer, text.text));
      Spread(ids, options.context, std::max<uint64_t>(chunks / texts.size(), 1));
    }
    SMELT_ASSIGN_OR_RETURN(
        sensitivity_, Sensitivity::Open({.source = &source_, .spec = spec_}, texts_, options, kSkip,
                                        by_source_.size()));
    return plan_.gathering ? OpenGathering(**tokenizer) : absl::OkStatus();
  }

  absl::Status OpenGathering(const Tokenizer& tokenizer) {
    const Gathering& gathering = *plan_.gathering;
    if (gathering.kept != nullptr) return absl::OkStatus();
    for (const NamedText& text : gathering.texts) {
      SMELT_ASSIGN_OR_RETURN(moment_texts_.emplace_back(), EvaluationIds(tokenizer, text.text));
    }
    const uint64_t chunks = kMomentTokens / (gathering.context * gathering.texts.size());
    const ScoreOptions options{.context = gathering.context,
                               .chunks = std::clamp<uint64_t>(chunks, 1, gathering.chunks),
                               .add_bos = tokenizer.adds_bos(),
                               .bos = tokenizer.bos()};
    SMELT_ASSIGN_OR_RETURN(calibration_, Calibration::Open({.source = &source_, .spec = spec_},
                                                           moment_texts_, options, quiet_));
    return calibration_->Begin();
  }

  /// What goes into a stage's matrices, where it is not what the measurement itself sees.
  absl::Status Gather(size_t stage) {
    tap_.Clear();
    if (!plan_.gathering) return absl::OkStatus();
    if (plan_.gathering->kept != nullptr)
      return TellStatistics(*plan_.gathering->kept, source_, stage, tap_);
    return stage < sensitivity_->layers() ? calibration_->Step(stage, &tap_)
                                          : calibration_->Finish(&tap_);
  }

  // A text's domains follow each other: chunks from all over it.
  void Spread(const std::vector<int32_t>& ids, uint64_t context, uint64_t chunks) {
    const uint64_t length = std::min<uint64_t>(context, ids.size());
    for (uint64_t i = 0; i < chunks; ++i) {
      const auto first = ids.begin() + static_cast<std::ptrdiff_t>((ids.size() - length) *
                                                                   (2 * i + 1) / (2 * chunks));
      texts_.emplace_back(first, first + static_cast<std::ptrdiff_t>(length));
    }
  }

  // Runs a step with variants of its tensors; then measures what types do to them.
  template <typename F>
  absl::Status With(const std::vector<size_t>& tensors, const F& step) {
    std::vector<Coarsened> sources;
    std::vector<size_t> measured;
    for (const size_t tensor : tensors) {
      if (!by_source_.contains(tensor)) continue;
      sources.emplace_back(source_, tensor);
      measured.push_back(tensor);
    }
    std::vector<const ModelSource*> variants;
    for (const Coarsened& source : sources) variants.push_back(&source);
    SMELT_RETURN_IF_ERROR(step(variants));
    return MeasureErrors(measured);
  }

  /// Of one tensor: the coarse type's, and each candidate's.
  struct Errors {
    size_t tensor = 0;  ///< of the plan
    double coarse = 0;
    std::vector<TensorLosses::Loss> types;

    void Add(const Errors& other) {
      coarse += other.coarse;
      for (size_t i = 0; i < types.size(); ++i) types[i].loss += other.types[i].loss;
    }
  };

  // A factor is made once for all that share it, and there is one at a time.
  absl::Status MeasureErrors(const std::vector<size_t>& tensors) {
    std::map<MatrixRef, size_t> with;  // number of its second moment
    for (size_t i = 0; i < tap_.grams().size(); ++i)
      for (const MatrixRef& matrix : tap_.grams()[i]->matrices) with[matrix] = i;
    std::vector<RowRun> runs;
    for (const size_t tensor : tensors) AddRuns(tensor, runs);
    std::vector<Errors> errors(runs.size());
    std::vector<size_t> without;
    std::vector<std::vector<size_t>> sharing(tap_.grams().size());
    for (size_t i = 0; i < runs.size(); ++i) {
      const auto found = with.find({static_cast<TensorRef>(runs[i].tensor), runs[i].matrix});
      (found == with.end() ? without : sharing[found->second]).push_back(i);
    }
    std::optional<InputFactor> of_embedding;
    const bool embedding = std::ranges::any_of(tensors, [&](size_t tensor) {
      return IsOf(tensor, spec_.embedding) && RoundsEmbedding(spec_, plan_);
    });
    if (embedding) {  // alone in its stage
      SMELT_ASSIGN_OR_RETURN(of_embedding, EmbeddingFactor(source_, spec_));
    }
    SMELT_RETURN_IF_ERROR(
        MeasureErrors(runs, without, of_embedding ? &*of_embedding : nullptr, errors));
    for (size_t i = 0; i < sharing.size(); ++i) {
      if (sharing[i].empty()) continue;
      const InputGram& gram = tap_.grams()[i]->gram;
      SMELT_ASSIGN_OR_RETURN(
          const InputFactor factor,
          InputFactor::Make(gram.columns, std::span(gram.sums, gram.columns * gram.columns),
                            gram.tokens));
      SMELT_RETURN_IF_ERROR(MeasureErrors(runs, sharing[i], &factor, errors));
    }
    for (size_t i = 0; i < runs.size(); ++i) {
      const bool another = i == 0 || runs[i].tensor != runs[i - 1].tensor;
      another ? errors_.push_back(std::move(errors[i])) : errors_.back().Add(errors[i]);
    }
    return absl::OkStatus();
  }

  absl::Status MeasureErrors(const std::vector<RowRun>& runs, const std::vector<size_t>& which,
                             const InputFactor* factor, std::vector<Errors>& errors) const {
    return ParallelFor(which.size(), 1, [&](uint64_t begin, uint64_t end) -> absl::Status {
      for (uint64_t i = begin; i < end; ++i) {
        SMELT_RETURN_IF_ERROR(GoOn());
        SMELT_ASSIGN_OR_RETURN(errors[which[i]], ErrorsOf(runs[which[i]], factor));
      }
      return absl::OkStatus();
    });
  }

  absl::StatusOr<Errors> ErrorsOf(const RowRun& run, const InputFactor* factor) const {
    SMELT_ASSIGN_OR_RETURN(const Sample sample, SampleOf(run, factor));
    Errors out;
    out.tensor = by_source_.at(run.tensor);
    out.coarse = sample.ErrorOf(kCoarse, Effort::kFast, false);
    const PlanOptions& options = plan_.options;
    const bool statistics = !options.imatrix.empty() || options.gathers();
    // Of all of a tensor's runs the same types.
    const bool known = statistics && tap_.found().contains(static_cast<TensorRef>(run.tensor));
    const Effort effort = EffortNamed(options.effort).value_or(Effort::kNormal);
    for (const TensorType type : kCandidates) {
      if (!RowBytes(type, sample.columns) || (NeedsImportance(type) && !known)) continue;
      out.types.push_back({type, sample.ErrorOf(type, effort, known || factor != nullptr)});
    }
    const TensorType stored = plan_.tensors[out.tensor].source_type;
    if (stored == TensorType::kF16 || stored == TensorType::kBF16) out.types.push_back({stored, 0});
    return out;
  }

  void AddRuns(size_t tensor, std::vector<RowRun>& runs) const {
    const Shape& shape = source_.tensors()[tensor].shape;
    const uint64_t rows = shape.rows(), of_matrix = shape.ne[1];
    const Rows wanted = rows > of_matrix ? kRowsOfExperts : kRowsOfMatrix;
    for (uint64_t i = 0; i < wanted.runs; ++i) {
      const uint64_t count = std::min(wanted.rows, of_matrix), at = rows * i / wanted.runs;
      const uint64_t last = at / of_matrix * of_matrix + of_matrix - count;
      runs.push_back({tensor, at / of_matrix, std::min(at, last), count});
    }
  }

  absl::StatusOr<Sample> SampleOf(const RowRun& run, const InputFactor* factor) const {
    Sample sample;
    sample.rows = run.rows;
    sample.columns = source_.tensors()[run.tensor].shape.columns();
    sample.values.resize(sample.rows * sample.columns);
    SMELT_RETURN_IF_ERROR(source_.ReadRows(run.tensor, run.first, run.rows, sample.values.data()));
    sample.importance = ImportanceOf(run.tensor, run.matrix, sample.columns);
    if (IsOf(run.tensor, spec_.embedding) && factor != nullptr)
      sample.importance.assign(factor->squares().begin(), factor->squares().end());
    sample.factor = factor;
    return sample;
  }

  std::vector<float> ImportanceOf(size_t tensor, uint64_t matrix, uint64_t columns) const {
    const auto found = tap_.found().find(static_cast<TensorRef>(tensor));
    if (found == tap_.found().end()) return {};
    const InputSquares& squares = found->second;
    const uint64_t at = squares.counts.size() > 1 ? matrix : 0, first = matrix * columns;
    if (squares.counts[at] == 0 || first + columns > squares.sums.size()) return {};
    std::vector<float> out(columns);
    for (size_t c = 0; c < columns; ++c) {
      out[c] =
          static_cast<float>(squares.sums[first + c] / static_cast<double>(squares.counts[at]));
    }
    return out;
  }

  absl::StatusOr<std::vector<TensorLosses>> Scaled(const std::vector<double>& losses) const {
    std::vector<TensorLosses> out;
    for (size_t i = 0; i < losses.size(); ++i) {
      const Errors& errors = errors_[i];
      if (!std::isfinite(losses[i])) {
        return Error(ErrorCode::kInvalidInput, "tensor ", Escape(plan_.tensors[errors.tensor].name),
                     ": the model's predictions with a little error in it are not finite, so that "
                     "no types can be chosen by them");
      }
      TensorLosses& t = out.emplace_back();
      t.tensor = errors.tensor;
      t.types = errors.types;
      const double scale = errors.coarse > 0 ? losses[i] / errors.coarse : 0;
      for (TensorLosses::Loss& loss : t.types) loss.loss *= scale;
    }
    return out;
  }

  const ModelSource& source_;
  const Plan& plan_;
  const Observer& observer_;
  std::map<size_t, size_t> by_source_;  ///< tensors of the plan
  ModelSpec spec_;
  std::vector<std::vector<int32_t>> texts_;
  std::unique_ptr<Sensitivity> sensitivity_;
  std::vector<std::vector<int32_t>> moment_texts_;
  const Observer quiet_{};
  std::unique_ptr<Calibration> calibration_;  ///< nullptr: a file, or the measurement itself
  StatisticsTap tap_;
  std::vector<Errors> errors_;  ///< in the order of variants
};

}  // namespace

uint64_t MeasuredTokens(const Plan& plan) {
  return kContext * std::max<uint64_t>(ChunksOf(plan), plan.options.calibration.size());
}

absl::StatusOr<std::vector<TensorLosses>> MeasureTensorLosses(const ModelSource& source,
                                                              const Plan& plan,
                                                              const std::vector<size_t>& wanted,
                                                              const Observer& observer) {
  return Meter(source, plan, wanted, observer).Run();
}

}  // namespace smelt
