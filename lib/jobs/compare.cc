#include "smelt/compare.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <set>

#include "formats/importance.h"
#include "lib/base/guard.h"
#include "lib/base/hash.h"
#include "lib/base/job_scope.h"
#include "lib/base/parallel.h"
#include "lib/base/status.h"
#include "lib/jobs/open_model.h"
#include "lib/model/recipe.h"
#include "quant/codec.h"

namespace smelt {
namespace {

constexpr uint64_t kTileElements = 256 * 1024;

std::vector<uint64_t> ExtentsOf(const Shape& shape) {
  return {shape.ne.begin(), shape.ne.begin() + shape.dims};
}

uint64_t TileRows(const TensorInfo& info) {
  return std::max<uint64_t>(kTileElements / std::max<uint64_t>(info.shape.columns(), 1), 1);
}

/// Calls f(first row, rows) for one tile after the other.
template <typename F>
absl::Status ForTiles(const TensorInfo& info, const F& f) {
  const uint64_t step = TileRows(info);
  for (uint64_t row = 0; row < info.shape.rows(); row += step) {
    SMELT_RETURN_IF_ERROR(GoOn());
    SMELT_RETURN_IF_ERROR(f(row, std::min(step, info.shape.rows() - row)));
  }
  return absl::OkStatus();
}

/// The job ends; everything else is the tensor's own problem.
bool EndsAll(const absl::Status& status) {
  return CodeOf(status) == ErrorCode::kCancelled || CodeOf(status) == ErrorCode::kOutOfMemory;
}

/// Tensors done so far.
class Counter {
 public:
  Counter(const Observer& observer, uint64_t total) : observer_(observer), total_(total) {}
  void Next() {
    const std::lock_guard lock(mutex_);
    observer_.Report({.phase = "comparing", .done = ++done_, .total = total_, .unit = "tensors"});
  }

 private:
  const Observer& observer_;
  const uint64_t total_;
  std::mutex mutex_;
  uint64_t done_ = 0;
};

/// Sums over the values of one tensor.
struct Sums {
  double aa = 0, bb = 0, ab = 0, error = 0;
  double weighted_aa = 0, weighted_error = 0;
};

/// One tensor of both models.
class Pair {
 public:
  Pair(const ModelSource& a, size_t in_a, const ModelSource& b, size_t in_b,
       const ImportanceFile* importance, TensorDifference& out, Sums& sums)
      : a_(a), b_(b), in_a_(in_a), in_b_(in_b), importance_(importance), out_(out), sums_(sums) {}

  absl::Status Run() {
    const TensorInfo& info = a_.tensors()[in_a_];
    entry_ = importance_ == nullptr ? -1 : importance_->Find(info.name);
    if (entry_ >= 0 && !importance_->Fits(static_cast<size_t>(entry_), info.shape.columns(),
                                          info.shape.ne[2] * info.shape.ne[3]))
      entry_ = -1;
    SMELT_RETURN_IF_ERROR(ForTiles(info, [&](uint64_t row, uint64_t rows) {
      const uint64_t elements = rows * info.shape.columns();
      x_.resize(elements);
      y_.resize(elements);
      SMELT_RETURN_IF_ERROR(a_.ReadRows(in_a_, row, rows, x_.data()));
      SMELT_RETURN_IF_ERROR(b_.ReadRows(in_b_, row, rows, y_.data()));
      for (uint64_t r = 0; r < rows; ++r) SMELT_RETURN_IF_ERROR(AddRow(info.shape, row + r, r));
      return absl::OkStatus();
    }));
    out_.comparable = true;
    out_.relative_error = Ratio(sums_.error, sums_.aa);
    if (entry_ >= 0) out_.weighted_error = Ratio(sums_.weighted_error, sums_.weighted_aa);
    if (sums_.error > 0)
      out_.cosine = sums_.aa > 0 && sums_.bb > 0 ? sums_.ab / std::sqrt(sums_.aa * sums_.bb) : 0;
    return absl::OkStatus();
  }

  static double Ratio(double error, double all) {
    if (error == 0) return 0;
    return all > 0 ? std::sqrt(error / all) : std::numeric_limits<double>::infinity();
  }

 private:
  absl::Status AddRow(const Shape& shape, uint64_t row, uint64_t in_tile) {
    const uint64_t columns = shape.columns(), matrix = row / shape.ne[1];
    if (entry_ >= 0 && matrix != weights_of_) {
      weights_.resize(columns);
      SMELT_RETURN_IF_ERROR(
          importance_->ReadImportance(static_cast<size_t>(entry_), matrix, weights_));
      weights_of_ = matrix;
    }
    const float* const x = x_.data() + in_tile * columns;
    const float* const y = y_.data() + in_tile * columns;
    for (uint64_t c = 0; c < columns; ++c) {
      const double a = x[c], b = y[c], difference = a - b;
      sums_.aa += a * a;
      sums_.bb += b * b;
      sums_.ab += a * b;
      sums_.error += difference * difference;
      if (entry_ >= 0) {
        sums_.weighted_aa += weights_[c] * a * a;
        sums_.weighted_error += weights_[c] * difference * difference;
      }
      if (std::fabs(difference) <= out_.worst) continue;
      out_.worst = std::fabs(difference);
      out_.worst_row = row;
      out_.worst_column = c;
    }
    return absl::OkStatus();
  }

  const ModelSource &a_, &b_;
  const size_t in_a_, in_b_;
  const ImportanceFile* const importance_;
  TensorDifference& out_;
  Sums& sums_;
  int entry_ = -1;
  std::vector<float> x_, y_, weights_;
  uint64_t weights_of_ = UINT64_MAX;
};

/// What belongs to the stored form of another tensor has no values of its own.
bool HasValues(const TensorInfo& info) { return !info.companion_of; }

TensorDifference Describe(const TensorInfo* a, const TensorInfo* b) {
  TensorDifference out;
  out.name = a != nullptr ? a->name : b->name;
  if (a != nullptr) {
    out.type_a = Info(a->type).name;
    out.shape_a = ExtentsOf(a->shape);
  }
  if (b != nullptr) {
    out.type_b = Info(b->type).name;
    out.shape_b = ExtentsOf(b->shape);
  }
  if (a == nullptr || b == nullptr) {
    out.problem = a == nullptr ? "only in the second model" : "only in the first model";
  } else if (a->shape.ne != b->shape.ne) {
    out.problem = Cat("is ", a->shape.ToText(), " in one and ", b->shape.ToText(), " in the other");
  }
  return out;
}

absl::StatusOr<Comparison> CompareSources(const ModelSource& a, const ModelSource& b,
                                          const ImportanceFile* importance,
                                          const Observer& observer) {
  Comparison out;
  out.a = a.name();
  out.b = b.name();
  struct Work {
    size_t at = 0, in_a = 0, in_b = 0;
    Sums sums;
  };
  std::vector<Work> work;
  for (size_t i = 0; i < a.tensors().size(); ++i) {
    const TensorInfo& info = a.tensors()[i];
    if (!HasValues(info)) continue;
    const int other = b.Find(info.name);
    const TensorInfo* const match = other < 0 ? nullptr : &b.tensors()[static_cast<size_t>(other)];
    out.tensors.push_back(Describe(&info, match));
    if (out.tensors.back().problem.empty())
      work.push_back({out.tensors.size() - 1, i, static_cast<size_t>(other), {}});
  }
  for (const TensorInfo& info : b.tensors()) {
    if (HasValues(info) && a.Find(info.name) < 0) out.tensors.push_back(Describe(nullptr, &info));
  }
  Counter counter(observer, work.size());
  SMELT_RETURN_IF_ERROR(ParallelFor(work.size(), 1, [&](uint64_t begin, uint64_t end) {
    for (uint64_t i = begin; i < end; ++i) {
      TensorDifference& tensor = out.tensors[work[i].at];
      const absl::Status status =
          Pair(a, work[i].in_a, b, work[i].in_b, importance, tensor, work[i].sums).Run();
      if (EndsAll(status)) return status;
      if (!status.ok()) tensor.problem = std::string(status.message());
      counter.Next();
    }
    return absl::OkStatus();
  }));
  double error = 0, all = 0;
  for (const Work& w : work) {
    if (!out.tensors[w.at].comparable) continue;
    error += w.sums.error;
    all += w.sums.aa;
    if (w.sums.error == 0) ++out.equal;
  }
  out.relative_error = Pair::Ratio(error, all);
  out.problems = static_cast<uint64_t>(
      std::ranges::count_if(out.tensors, [](const auto& t) { return !t.comparable; }));
  return out;
}

// Stored blocks of rows: their hash, and those that hold what is no number.
absl::Status CheckStored(const ModelSource& source, size_t tensor, TensorCheck& out) {
  const TensorInfo& info = source.tensors()[tensor];
  const std::optional<uint64_t> row_bytes = RowBytes(info.type, info.shape.columns());
  const Codec* const codec = FindCodec(info.type);
  const uint64_t block = Info(info.type).block_elements;
  if (!row_bytes) return absl::OkStatus();
  Sha256 hash;
  std::vector<std::byte> bytes;
  SMELT_RETURN_IF_ERROR(ForTiles(info, [&](uint64_t row, uint64_t rows) {
    bytes.resize(rows * *row_bytes);
    SMELT_RETURN_IF_ERROR(source.ReadRawRows(tensor, row, rows, bytes.data()));
    hash.Update(bytes);
    const uint64_t blocks = rows * info.shape.columns() / block;
    for (uint64_t first = 0; codec != nullptr && first < blocks;) {
      uint64_t bad = 0;
      const uint64_t offset = first * Info(info.type).block_bytes;
      if (codec->Validate(bytes.data() + offset, (blocks - first) * block, &bad)) break;
      ++out.bad_blocks;
      first += bad + 1;
    }
    return absl::OkStatus();
  }));
  out.sha256 = hash.FinishHex();
  if (out.bad_blocks > 0)
    out.problem = Cat(out.bad_blocks, block > 1 ? " blocks have a scale" : " values",
                      block > 1 ? " that is no number or infinite" : " are no numbers or infinite");
  return absl::OkStatus();
}

// Computed values: reading them checks them.
absl::Status CheckComputed(const ModelSource& source, size_t tensor) {
  const TensorInfo& info = source.tensors()[tensor];
  std::vector<float> values;
  return ForTiles(info, [&](uint64_t row, uint64_t rows) {
    values.resize(rows * info.shape.columns());
    return source.ReadRows(tensor, row, rows, values.data());
  });
}

absl::Status CheckTensors(const ModelSource& source, const Observer& observer, ModelCheck& out) {
  out.tensors.resize(source.tensors().size());
  Counter counter(observer, out.tensors.size());
  return ParallelFor(out.tensors.size(), 1, [&](uint64_t begin, uint64_t end) {
    for (uint64_t i = begin; i < end; ++i) {
      const TensorInfo& info = source.tensors()[i];
      TensorCheck& check = out.tensors[i];
      check.name = info.name;
      check.type = Info(info.type).name;
      check.shape = ExtentsOf(info.shape);
      const bool stored = info.recipe == nullptr || info.recipe->only_gathers();
      const absl::Status status = stored ? CheckStored(source, i, check) : CheckComputed(source, i);
      if (EndsAll(status)) return status;
      if (!status.ok()) check.problem = std::string(status.message());
      counter.Next();
    }
    return absl::OkStatus();
  });
}

}  // namespace

absl::StatusOr<Comparison> Compare(const CompareOptions& options, const Observer& watcher) try {
  const JobScope job(watcher);
  SMELT_ASSIGN_OR_RETURN(const std::unique_ptr<ModelSource> a,
                         OpenModelByName(options.a, {}, job.observer()));
  SMELT_ASSIGN_OR_RETURN(const std::unique_ptr<ModelSource> b,
                         OpenModelByName(options.b, {}, job.observer()));
  std::shared_ptr<const ImportanceFile> importance;
  if (!options.imatrix.empty()) {
    SMELT_ASSIGN_OR_RETURN(importance, ImportanceFile::Open(options.imatrix));
  }
  return CompareSources(*a, *b, importance.get(), job.observer());
} catch (...) {
  return CaughtError();
}

absl::StatusOr<ModelCheck> CheckModel(const std::string& model, const std::string& against,
                                      const Observer& watcher) try {
  const JobScope job(watcher);
  SMELT_ASSIGN_OR_RETURN(const std::unique_ptr<ModelSource> source,
                         OpenModelByName(model, {}, job.observer()));
  ModelCheck out;
  out.model = model;
  SMELT_RETURN_IF_ERROR(CheckTensors(*source, job.observer(), out));
  std::set<std::string> bad;
  for (const TensorCheck& tensor : out.tensors) {
    if (!tensor.problem.empty()) bad.insert(tensor.name);
  }
  if (!against.empty()) {
    SMELT_ASSIGN_OR_RETURN(const std::unique_ptr<ModelSource> other,
                           OpenModelByName(against, {}, job.observer()));
    SMELT_ASSIGN_OR_RETURN(out.against, CompareSources(*other, *source, nullptr, job.observer()));
    for (TensorDifference& tensor : out.against->tensors) {
      if (tensor.comparable && tensor.relative_error >= 1)
        tensor.problem = "is no nearer to the other model's than zeros would be";
      if (!tensor.problem.empty()) bad.insert(tensor.name);
    }
  }
  out.problems = bad.size();
  return out;
} catch (...) {
  return CaughtError();
}

}  // namespace smelt
