#include "lib/jobs/gathered_statistics.h"

#include <algorithm>
#include <map>

#include "lib/base/hash.h"
#include "lib/base/status.h"
#include "lib/jobs/text_ids.h"
#include "lib/model/layer_spec.h"
#include "quant/input_factor.h"

namespace smelt {
namespace {

/// By source tensor: those that are rounded with the second moment of their inputs.
std::vector<bool> WithMoments(const ModelSource& source, const Plan& plan) {
  std::vector<bool> out(source.tensors().size());
  if (!plan.gathering->moments) return out;
  for (const PlannedTensor& t : plan.tensors) {
    const bool watched = t.name.starts_with("blk.") || t.name == "output.weight";
    out[t.source] = watched && Info(t.type).quantized && t.type != t.source_type;
  }
  return out;
}

uint64_t MatricesOf(const PlannedTensor& t) { return t.tiles / t.tiles_per_matrix(); }

}  // namespace

StatisticsGatherer::StatisticsGatherer(const ModelSource& source, const Plan& plan,
                                       PartialOutput& output)
    : plan_(plan), output_(output), tap_(source, WithMoments(source, plan)) {}

absl::StatusOr<std::unique_ptr<StatisticsGatherer>> StatisticsGatherer::Open(
    const ModelSource& source, const Plan& plan, const Observer& observer, PartialOutput& output) {
  std::unique_ptr<StatisticsGatherer> out(new StatisticsGatherer(source, plan, output));
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = TokenizerOf(source);
  if (!tokenizer.ok()) {
    return Error(CodeOf(tokenizer.status()), std::string(tokenizer.status().message()),
                 plan.gathering->moments
                     ? "; --effort best needs it to read a text: take --effort normal"
                     : "; --imatrix auto needs it to read a text: name a file instead");
  }
  for (const NamedText& text : plan.gathering->texts) {
    SMELT_ASSIGN_OR_RETURN(out->texts_.emplace_back(), EvaluationIds(**tokenizer, text.text));
  }
  const ScoreOptions options{.context = plan.gathering->context,
                             .chunks = plan.gathering->chunks,
                             .add_bos = (*tokenizer)->adds_bos(),
                             .bos = (*tokenizer)->bos()};
  SpecifiedModel model{.source = &source, .spec = {}};
  SMELT_ASSIGN_OR_RETURN(model.spec, ReadModelSpec(source));
  SMELT_ASSIGN_OR_RETURN(out->calibration_,
                         Calibration::Open(model, out->texts_, options, observer));
  return out;
}

absl::Status StatisticsGatherer::Begin() { return calibration_->Begin(); }

absl::Status StatisticsGatherer::Step(size_t layer) {
  tap_.Clear();
  SMELT_RETURN_IF_ERROR(calibration_->Step(layer, &tap_));
  return Keep(layer);
}

absl::Status StatisticsGatherer::Finish() {
  tap_.Clear();
  SMELT_RETURN_IF_ERROR(calibration_->Finish(&tap_));
  return Keep(calibration_->layers());
}

absl::Status StatisticsGatherer::Keep(size_t stage) {
  uint64_t hash = stage;
  for (const auto& [tensor, squares] : tap_.found()) {
    SMELT_ASSIGN_OR_RETURN(const std::vector<float> sums, tap_.Sums(tensor));
    hash = hash * 31 + XxHash64(std::as_bytes(std::span(sums)));
    hash = hash * 31 + XxHash64(std::as_bytes(std::span(squares.counts)));
  }
  for (const std::unique_ptr<SharedGram>& shared : tap_.grams()) {
    const std::span sums(shared->gram.sums, shared->bytes() / sizeof(float));
    hash = hash * 31 + XxHash64(std::as_bytes(sums));
  }
  const auto earlier = output_.stage_hashes.find(stage);
  if (earlier == output_.stage_hashes.end()) return output_.journals[0]->AddStage(stage, hash);
  if (earlier->second == hash) return absl::OkStatus();
  return Error(ErrorCode::kInvalidInput, "what goes into the weights of layer ", stage,
               " is not what the interrupted run found, on another machine perhaps: what it wrote "
               "cannot be continued; run the same command again to start over");
}

absl::Status StatisticsGatherer::Encode(Filler& filler, std::span<const size_t> tensors) const {
  std::map<MatrixRef, size_t> with;  // number of its second moment
  for (size_t i = 0; i < tap_.grams().size(); ++i)
    for (const MatrixRef& matrix : tap_.grams()[i]->matrices) with[matrix] = i;
  std::vector<PlannedMatrix> without;
  std::vector<std::vector<PlannedMatrix>> sharing(tap_.grams().size());
  for (const size_t tensor : tensors) {
    const PlannedTensor& t = plan_.tensors[tensor];
    for (uint64_t m = 0; m < MatricesOf(t); ++m) {
      const auto found = with.find({static_cast<TensorRef>(t.source), m});
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
                                            std::span<const PlannedMatrix> matrices) const {
  if (IsDone(matrices)) return absl::OkStatus();
  const InputGram& gram = shared.gram;
  absl::StatusOr<InputFactor> factor = InputFactor::Make(
      gram.columns, std::span(gram.sums, shared.bytes() / sizeof(float)), gram.tokens);
  if (!factor.ok()) {
    return Prefixed(Cat("tensor ", Escape(plan_.tensors[matrices[0].tensor].name), ": "),
                    factor.status());
  }
  return filler.Encode(matrices,
                       [&](const PlannedTensor& tensor, uint64_t matrix, std::span<float> out) {
                         FindImportance(tensor, matrix, out);
                         return &*factor;
                       });
}

bool StatisticsGatherer::IsDone(std::span<const PlannedMatrix> matrices) const {
  return std::ranges::all_of(matrices, [&](const PlannedMatrix& m) {
    const PlannedTensor& t = plan_.tensors[m.tensor];
    const auto first = output_.done.begin() +
                       static_cast<std::ptrdiff_t>(t.first_tile + m.matrix * t.tiles_per_matrix());
    return std::all_of(first, first + static_cast<std::ptrdiff_t>(t.tiles_per_matrix()),
                       [](bool done) { return done; });
  });
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
    out[c] = static_cast<float>(squares.sums[first + c] / static_cast<double>(count));
}

}  // namespace smelt
