#include "lib/jobs/gathered_statistics.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "lib/base/hash.h"
#include "lib/base/status.h"
#include "lib/jobs/embedding_factor.h"
#include "lib/jobs/text_ids.h"
#include "lib/model/layer_spec.h"
#include "quant/input_factor.h"

namespace smelt {
namespace {

std::vector<bool> WithMoments(const ModelSource& source, std::span<const FillTarget> targets) {
  std::vector<const Plan*> plans;
  for (const FillTarget& target : targets) plans.push_back(target.plan);
  return smelt::WithMoments(source, plans);
}

uint64_t MatricesOf(const TensorInfo& t) { return t.shape.ne[2] * t.shape.ne[3]; }

}  // namespace

std::vector<bool> WithMoments(const ModelSource& source, const Plan& plan) {
  std::vector<bool> out(source.tensors().size());
  if (!plan.gathering || !plan.gathering->moments) return out;
  for (const PlannedTensor& t : plan.tensors) {
    out[t.source] =
        ImportanceTap::Watches(t.name, true) && Info(t.type).quantized && t.type != t.source_type;
  }
  return out;
}

std::vector<bool> WithMoments(const ModelSource& source, std::span<const Plan* const> plans) {
  std::vector<bool> out(source.tensors().size());
  for (const Plan* const plan : plans) {
    const std::vector<bool> moments = WithMoments(source, *plan);
    for (size_t i = 0; i < out.size(); ++i) out[i] = out[i] || moments[i];
  }
  return out;
}

StatisticsGatherer::StatisticsGatherer(const ModelSource& source, std::vector<User> users,
                                       const std::vector<bool>& moments)
    : source_(source), users_(std::move(users)), tap_(source, moments) {}

absl::StatusOr<std::unique_ptr<StatisticsGatherer>> StatisticsGatherer::Open(
    const ModelSource& source, const Gathering& gathering, std::span<const FillTarget> targets,
    const Observer& observer) {
  std::vector<User> users;
  for (const FillTarget& target : targets) {
    if (target.plan->gathering) users.push_back({target, WithMoments(source, *target.plan)});
  }
  const std::vector<bool> moments = WithMoments(source, targets);
  std::unique_ptr<StatisticsGatherer> out(
      new StatisticsGatherer(source, std::move(users), moments));
  SMELT_ASSIGN_OR_RETURN(out->spec_, ReadModelSpec(source));
  out->kept_ = gathering.kept;
  if (out->kept_ != nullptr) return out;
  SMELT_RETURN_IF_ERROR(out->OpenCalibration(gathering, observer));
  if (!gathering.statistics.empty()) {
    SMELT_ASSIGN_OR_RETURN(out->keeper_,
                           StatisticsKeeper::Open(source, gathering, moments, out->layers() + 1));
  }
  return out;
}

absl::Status StatisticsGatherer::OpenCalibration(const Gathering& gathering,
                                                 const Observer& observer) {
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = TokenizerOf(source_);
  if (!tokenizer.ok()) {
    return Error(CodeOf(tokenizer.status()), std::string(tokenizer.status().message()),
                 gathering.moments
                     ? "; --effort best needs it to read a text: take --effort normal"
                     : "; --imatrix auto needs it to read a text: name a file instead");
  }
  for (const NamedText& text : gathering.texts) {
    SMELT_ASSIGN_OR_RETURN(texts_.emplace_back(), EvaluationIds(**tokenizer, text.text));
  }
  const ScoreOptions options{.context = gathering.context,
                             .chunks = gathering.chunks,
                             .add_bos = (*tokenizer)->adds_bos(),
                             .bos = (*tokenizer)->bos()};
  SMELT_ASSIGN_OR_RETURN(calibration_, Calibration::Open({.source = &source_, .spec = spec_},
                                                         texts_, options, observer));
  return absl::OkStatus();
}

absl::Status StatisticsGatherer::Begin() {
  return kept_ != nullptr ? absl::OkStatus() : calibration_->Begin();
}

absl::Status StatisticsGatherer::EncodeEmbedding(Filler& filler,
                                                 std::span<const size_t> tensors) const {
  const size_t embedding = static_cast<size_t>(spec_.embedding);
  const bool rounded = std::ranges::any_of(
      users_, [&](const User& user) { return RoundsEmbedding(spec_, *user.target.plan); });
  if (!rounded || std::ranges::find(tensors, embedding) == tensors.end())
    return filler.Encode(tensors);
  std::vector<size_t> others(tensors.begin(), tensors.end());
  std::erase(others, embedding);
  SMELT_RETURN_IF_ERROR(filler.Encode(others));
  const SourceMatrix matrices[] = {{embedding, 0}};
  if (std::ranges::all_of(users_, [&](const User& u) { return IsDone(u.target, matrices); }))
    return filler.Encode(matrices, {});
  SMELT_ASSIGN_OR_RETURN(const std::optional<InputFactor> factor, EmbeddingFactor(source_, spec_));
  if (!factor) return filler.Encode(matrices, {});
  return filler.Encode(matrices, [&](const PlannedTensor&, uint64_t, std::span<float> out) {
    std::ranges::copy(factor->squares(), out.begin());
    return &*factor;
  });
}

absl::Status StatisticsGatherer::Step(size_t layer) { return Gather(layer); }

absl::Status StatisticsGatherer::Finish() {
  SMELT_RETURN_IF_ERROR(Gather(layers()));
  return keeper_ != nullptr ? keeper_->Finish() : absl::OkStatus();
}

absl::Status StatisticsGatherer::Gather(size_t stage) {
  tap_.Clear();
  if (kept_ != nullptr) {
    SMELT_RETURN_IF_ERROR(TellStatistics(*kept_, source_, stage, tap_));
  } else if (stage < layers()) {
    SMELT_RETURN_IF_ERROR(calibration_->Step(stage, &tap_));
  } else {
    SMELT_RETURN_IF_ERROR(calibration_->Finish(&tap_));
  }
  SMELT_RETURN_IF_ERROR(Keep(stage));
  return keeper_ != nullptr ? keeper_->Add(tap_) : absl::OkStatus();
}

// An output's hash is the same whatever other outputs are made beside it, so that it can be
// continued with others, or alone.
absl::Status StatisticsGatherer::Keep(size_t stage) {
  uint64_t of_squares = stage;
  for (const auto& [tensor, squares] : tap_.found()) {
    SMELT_ASSIGN_OR_RETURN(const std::vector<float> sums, tap_.Sums(tensor));
    of_squares = of_squares * 31 + XxHash64(std::as_bytes(std::span(sums)));
    of_squares = of_squares * 31 + XxHash64(std::as_bytes(std::span(squares.counts)));
  }
  std::vector<std::map<MatrixRef, uint64_t>> of_moments(users_.size());  // by the first matrix
  for (const std::unique_ptr<SharedGram>& shared : tap_.grams()) {
    const std::span sums(shared->gram.sums, shared->bytes() / sizeof(float));
    const uint64_t hash = XxHash64(std::as_bytes(sums));
    for (size_t i = 0; i < users_.size(); ++i) {
      std::optional<MatrixRef> first;
      for (const MatrixRef& matrix : shared->matrices) {
        if (users_[i].moments[static_cast<size_t>(matrix.tensor)])
          first = std::min(first.value_or(matrix), matrix);
      }
      if (first) of_moments[i][*first] = hash;
    }
  }
  for (size_t i = 0; i < users_.size(); ++i) {
    uint64_t hash = of_squares;
    for (const auto& [matrix, of_moment] : of_moments[i]) hash = hash * 31 + of_moment;
    SMELT_RETURN_IF_ERROR(KeepIn(*users_[i].target.output, stage, hash));
  }
  return absl::OkStatus();
}

absl::Status StatisticsGatherer::KeepIn(PartialOutput& output, size_t stage, uint64_t hash) {
  const auto earlier = output.stage_hashes.find(stage);
  if (earlier == output.stage_hashes.end()) return output.journals[0]->AddStage(stage, hash);
  if (earlier->second == hash) return absl::OkStatus();
  return Error(ErrorCode::kInvalidInput, "what goes into the weights of layer ", stage,
               " is not what the interrupted run found, on another machine perhaps: what it wrote "
               "cannot be continued; run the same command again to start over");
}

absl::Status StatisticsGatherer::Encode(Filler& filler, std::span<const size_t> tensors) const {
  std::map<MatrixRef, size_t> with;  // number of its second moment
  for (size_t i = 0; i < tap_.grams().size(); ++i)
    for (const MatrixRef& matrix : tap_.grams()[i]->matrices) with[matrix] = i;
  std::vector<SourceMatrix> without;
  std::vector<std::vector<SourceMatrix>> sharing(tap_.grams().size());
  for (const size_t tensor : tensors) {
    for (uint64_t m = 0; m < MatricesOf(source_.tensors()[tensor]); ++m) {
      const auto found = with.find({static_cast<TensorRef>(tensor), m});
      (found == with.end() ? without : sharing[found->second]).push_back({tensor, m});
    }
  }
  const GatheredStatistics importance = [this](const PlannedTensor& tensor, uint64_t matrix,
                                               std::span<float> out) {
    FindImportance(tensor, matrix, out);
    return nullptr;
  };
  SMELT_RETURN_IF_ERROR(filler.Encode(without, importance));
  for (size_t i = 0; i < sharing.size(); ++i)
    SMELT_RETURN_IF_ERROR(EncodeWith(*tap_.grams()[i], filler, sharing[i]));
  return absl::OkStatus();
}

absl::Status StatisticsGatherer::EncodeWith(const SharedGram& shared, Filler& filler,
                                            std::span<const SourceMatrix> matrices) const {
  if (std::ranges::all_of(users_, [&](const User& u) { return IsDone(u.target, matrices); }))
    return filler.Encode(matrices, {});
  const InputGram& gram = shared.gram;
  absl::StatusOr<InputFactor> factor = InputFactor::Make(
      gram.columns, std::span(gram.sums, shared.bytes() / sizeof(float)), gram.tokens);
  if (!factor.ok()) {
    return Prefixed(Cat("tensor ", Escape(source_.tensors()[matrices[0].tensor].name), ": "),
                    factor.status());
  }
  return filler.Encode(matrices,
                       [&](const PlannedTensor& tensor, uint64_t matrix, std::span<float> out) {
                         FindImportance(tensor, matrix, out);
                         return &*factor;
                       });
}

bool StatisticsGatherer::IsDone(const FillTarget& target, std::span<const SourceMatrix> matrices) {
  for (const PlannedTensor& t : target.plan->tensors) {
    for (const SourceMatrix& m : matrices) {
      if (m.tensor != t.source) continue;
      const auto first =
          target.output->done.begin() +
          static_cast<std::ptrdiff_t>(t.first_tile + m.matrix * t.tiles_per_matrix());
      const auto last = first + static_cast<std::ptrdiff_t>(t.tiles_per_matrix());
      if (std::find(first, last, false) != last) return false;
    }
  }
  return true;
}

void StatisticsGatherer::FindImportance(const PlannedTensor& tensor, uint64_t matrix,
                                        std::span<float> out) const {
  const auto found = tap_.found().find(static_cast<TensorRef>(tensor.source));
  if (found == tap_.found().end()) return;
  const InputSquares& squares = found->second;
  const bool experts = squares.counts.size() > 1;  // what stacks heads is one matrix here
  const uint64_t first = matrix * out.size(), count = squares.counts[experts ? matrix : 0];
  if (count == 0 || first + out.size() > squares.sums.size()) return;
  for (size_t c = 0; c < out.size(); ++c)
    out[c] = static_cast<float>(static_cast<double>(static_cast<float>(squares.sums[first + c])) /
                                static_cast<double>(count));  // of sums as files hold them
}

}  // namespace smelt
