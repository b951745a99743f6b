#include "lib/jobs/kept_statistics.h"

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "lib/base/checked.h"
#include "lib/base/hash.h"
#include "lib/base/status.h"
#include "lib/model/layer_spec.h"

namespace smelt {
namespace {

uint64_t MatricesOf(const TensorInfo& t) { return t.shape.ne[2] * t.shape.ne[3]; }

/// Of some rows of each of these tensors, which the source has: another model has others, although
/// it may have the same shapes.
absl::StatusOr<std::string> DigestOf(const ModelSource& source,
                                     const std::set<std::string>& tensors) {
  Sha256 hash;
  std::vector<float> row;
  for (const std::string& name : tensors) {
    const int tensor = source.Find(name);
    const Shape& shape = source.tensors()[static_cast<size_t>(tensor)].shape;
    const std::string what = Cat(name, " ", shape.ToText());
    hash.Update(std::as_bytes(std::span(what)));
    row.resize(shape.columns());
    for (const uint64_t at : {uint64_t{0}, shape.rows() / 2, shape.rows() - 1}) {
      SMELT_RETURN_IF_ERROR(source.ReadRows(static_cast<size_t>(tensor), at, 1, row.data()));
      hash.Update(std::as_bytes(std::span(row)));
    }
  }
  return hash.FinishHex();
}

absl::Status AnotherModel(const StatisticsFile& file) {
  return Error(ErrorCode::kInvalidInput, Escape(file.name()),
               " holds statistics of another model; name another file to have this one's gathered");
}

StatisticsOrigin OriginOf(const ModelSource& source, const Gathering& gathering,
                          const std::vector<bool>& moments) {
  StatisticsOrigin out{
      .texts = {.datasets = {},
                .chunks = static_cast<uint32_t>(gathering.chunks * gathering.texts.size()),
                .chunk_size = static_cast<uint32_t>(gathering.context)},
      .gathering = gathering.Identity(),
      .model = "",
      .asked = {}};
  for (const NamedText& text : gathering.texts) out.texts.datasets.push_back(text.name);
  for (size_t i = 0; i < moments.size(); ++i)
    if (moments[i]) out.asked.push_back(source.tensors()[i].name);
  return out;
}

/// All that could be gathered, without anything shared; in the first stage, it does not matter.
std::vector<StatisticsStage> Most(const ModelSource& source, const std::vector<bool>& moments,
                                  size_t stages) {
  std::vector<StatisticsStage> out(stages);
  for (size_t i = 0; i < source.tensors().size(); ++i) {
    const TensorInfo& info = source.tensors()[i];
    const uint64_t matrices = MatricesOf(info);
    if (ImportanceTap::Watches(info.name, true)) {
      out[0].squares.push_back({.name = info.name,
                                .columns = info.shape.columns(),
                                .counts = std::vector<float>(matrices)});
    }
    for (uint64_t m = 0; m < matrices && moments[i]; ++m) {
      out[0].moments.push_back(
          {.matrices = {{info.name, m}}, .columns = info.shape.columns(), .tokens = 0});
    }
  }
  return out;
}

}  // namespace

absl::Status CheckStatistics(const StatisticsFile& file, const ModelSource& source,
                             const std::vector<bool>& moments) {
  const auto find = [&](const std::string& name) -> const TensorInfo* {
    const int tensor = source.Find(name);
    return tensor < 0 ? nullptr : &source.tensors()[static_cast<size_t>(tensor)];
  };
  std::set<std::string> tensors;
  for (const StatisticsStage& stage : file.stages()) {
    for (const ImportanceEntry& entry : stage.squares) {
      const TensorInfo* const info = find(entry.name);
      if (info == nullptr || !ImportanceTap::Watches(entry.name, true) ||
          entry.values() != info->shape.columns() * MatricesOf(*info))
        return AnotherModel(file);
      tensors.insert(entry.name);
    }
    for (const MomentEntry& moment : stage.moments) {
      for (const auto& [name, index] : moment.matrices) {
        const TensorInfo* const info = find(name);
        if (info == nullptr || index >= MatricesOf(*info) ||
            moment.columns != info->shape.columns())
          return AnotherModel(file);
      }
    }
  }
  SMELT_ASSIGN_OR_RETURN(const ModelSpec spec, ReadModelSpec(source));
  if (file.stages().size() != spec.layers.size() + 1) return AnotherModel(file);
  SMELT_ASSIGN_OR_RETURN(const std::string digest, DigestOf(source, tensors));
  if (digest != file.origin().model) return AnotherModel(file);
  const std::vector<std::string>& asked = file.origin().asked;
  for (size_t i = 0; i < moments.size(); ++i) {
    const std::string& name = source.tensors()[i].name;
    if (!moments[i] || std::ranges::find(asked, name) != asked.end()) continue;
    return Error(ErrorCode::kInvalidInput, Escape(file.name()), " has no second moments of ",
                 asked.empty()
                     ? "any tensor: it was made without --effort best"
                     : Cat("tensor ", Escape(name), ", which was not quantized when it was made"),
                 "; name another file to have them gathered");
  }
  return absl::OkStatus();
}

absl::Status TellStatistics(const StatisticsFile& file, const ModelSource& source, size_t stage,
                            Tap& tap) {
  const StatisticsStage& known = file.stages()[stage];
  std::vector<float> sums;
  for (size_t i = 0; i < known.squares.size(); ++i) {
    const ImportanceEntry& entry = known.squares[i];
    InputSquares* const squares = tap.Squares(static_cast<TensorRef>(source.Find(entry.name)),
                                              entry.columns, entry.matrices());
    if (squares == nullptr) continue;
    sums.resize(entry.values());
    SMELT_RETURN_IF_ERROR(file.ReadSums(stage, i, sums));
    squares->sums.assign(sums.begin(), sums.end());
    squares->counts.assign(entry.counts.begin(), entry.counts.end());
  }
  for (size_t i = 0; i < known.moments.size(); ++i) {
    const MomentEntry& moment = known.moments[i];
    InputGram* gram = nullptr;
    for (const auto& [name, index] : moment.matrices) {
      SMELT_ASSIGN_OR_RETURN(
          InputGram* const given,
          tap.Gram(static_cast<TensorRef>(source.Find(name)), index, moment.columns, gram));
      if (given != nullptr) gram = given;
    }
    if (gram == nullptr) continue;
    SMELT_RETURN_IF_ERROR(file.ReadMoment(stage, i, gram->sums));
    gram->tokens = moment.tokens;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<StatisticsKeeper>> StatisticsKeeper::Open(
    const ModelSource& source, const Gathering& gathering, const std::vector<bool>& moments,
    size_t stages) {
  std::unique_ptr<StatisticsKeeper> out(new StatisticsKeeper(source));
  SMELT_ASSIGN_OR_RETURN(out->writer_, StatisticsWriter::Open(gathering.statistics,
                                                              OriginOf(source, gathering, moments),
                                                              Most(source, moments, stages)));
  return out;
}

absl::StatusOr<uint64_t> StatisticsKeeper::MostBytes(const ModelSource& source,
                                                     const Gathering& gathering,
                                                     const std::vector<bool>& moments,
                                                     size_t stages) {
  return StatisticsWriter::Bytes(OriginOf(source, gathering, moments),
                                 Most(source, moments, stages));
}

absl::Status StatisticsKeeper::Add(const StatisticsTap& tap) {
  writer_->AddStage();
  const auto is_known = [&](TensorRef tensor) { return known_.contains(tap.NameOf(tensor)); };
  std::set<std::string> found;
  for (const auto& [tensor, squares] : tap.found()) {
    if (is_known(tensor)) continue;
    const std::string& name = tap.NameOf(tensor);
    SMELT_ASSIGN_OR_RETURN(const std::vector<float> sums, tap.Sums(tensor));
    const ImportanceEntry entry{.name = name,
                                .columns = squares.columns,
                                .counts = {squares.counts.begin(), squares.counts.end()}};
    SMELT_RETURN_IF_ERROR(writer_->AddSquares(entry, sums));
    found.insert(name);
  }
  for (const std::unique_ptr<SharedGram>& shared : tap.grams()) {
    MomentEntry entry{
        .matrices = {}, .columns = shared->gram.columns, .tokens = shared->gram.tokens};
    for (const MatrixRef& matrix : shared->matrices) {
      if (!is_known(matrix.tensor))
        entry.matrices.emplace_back(tap.NameOf(matrix.tensor), matrix.index);
    }
    if (!entry.matrices.empty())
      SMELT_RETURN_IF_ERROR(writer_->AddMoment(entry, shared->gram.sums));
  }
  known_.merge(found);
  return absl::OkStatus();
}

absl::Status StatisticsKeeper::Finish() {
  SMELT_ASSIGN_OR_RETURN(const std::string digest, DigestOf(source_, known_));
  return writer_->Finish(digest);
}

}  // namespace smelt
