#include "lib/model/merged_rows.h"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <utility>

#include "lib/base/status.h"

namespace smelt {
namespace {

constexpr uint64_t kPiece = 1 << 18;  // values that are read of a factor, or of a tensor, at once

/// out += scale * the product's rows [first, +count), counted in the product.
absl::Status AddRows(const LowRank& product, uint64_t first, uint64_t count, float* out) {
  const uint64_t rank = product.rank(), columns = product.right.columns();
  std::vector<float> left(count * rank);  // of each row, what each rank adds to it
  SMELT_RETURN_IF_ERROR(product.left.ReadRows(first, count, left.data()));
  const uint64_t step = std::min(rank, std::max<uint64_t>(1, kPiece / columns));
  std::vector<float> right(step * columns), sum(count * columns);
  for (uint64_t at = 0; at < rank; at += step) {
    const uint64_t ranks = std::min(step, rank - at);
    SMELT_RETURN_IF_ERROR(product.right.ReadRows(at, ranks, right.data()));
    for (uint64_t i = 0; i < count; ++i) {
      float* const row = sum.data() + i * columns;
      for (uint64_t k = 0; k < ranks; ++k) {
        const float factor = left[i * rank + at + k];
        const float* const line = right.data() + k * columns;
        for (uint64_t c = 0; c < columns; ++c) row[c] += factor * line[c];
      }
    }
  }
  for (uint64_t i = 0; i < sum.size(); ++i) out[i] += product.scale * sum[i];
  return absl::OkStatus();
}

float LengthOf(double square) { return static_cast<float>(std::sqrt(square)); }

}  // namespace

/// A change, and of DoRA's columns what they are multiplied by, which takes a look at all rows.
struct MergedRows::Step {
  TensorChange change;
  std::once_flag looked = {};
  absl::Status found = absl::OkStatus();
  std::vector<float> column_factors = {};
};

absl::Status TensorChange::Check(const std::string& name, uint64_t rows, uint64_t columns) const {
  const std::string base = Cat(Escape(name, 100), " of ", rows, " x ", columns);
  for (const LowRank& product : products) {
    const bool inside =
        product.first_row <= rows && product.left.rows() <= rows - product.first_row;
    if (product.right.columns() == columns && product.right.rows() == product.rank() &&
        (product.part ? inside : product.left.rows() == rows))
      continue;
    return Error(ErrorCode::kInvalidInput, "tensor ", Escape(product.left.name(), 100), " (",
                 product.left.rows(), " rows, rank ", product.rank(), ") and ",
                 Escape(product.right.name(), 100), " (rank ", product.right.rows(), ", ",
                 product.right.columns(), " columns) do not fit ", base,
                 ": is this the base that the adapter was trained on?");
  }
  if (lengths) {
    const uint64_t lines = lengths->of_columns ? columns : rows;
    if (lengths->values.rows() * lengths->values.columns() != lines) {
      return Error(ErrorCode::kInvalidInput, "tensor ", Escape(lengths->values.name(), 100),
                   " has ", lengths->values.rows() * lengths->values.columns(),
                   " lengths, expected one for each of ", lines,
                   lengths->of_columns ? " columns" : " rows", " of ", base);
    }
  }
  if (replaced) {
    const bool inside = replaced->from.empty() || replaced->from.rbegin()->first < rows;
    if (replaced->values.columns() != columns || !inside) {
      return Error(
          ErrorCode::kInvalidInput, "tensor ", Escape(replaced->values.name(), 100),
          " has rows of ", replaced->values.columns(), " for ",
          replaced->from.empty() ? "no row" : Cat("rows up to ", replaced->from.rbegin()->first),
          ", which do not fit ", base, ": is this the base that the adapter was trained on?");
    }
  }
  return absl::OkStatus();
}

absl::Status MergedRows::Add(TensorChange change) {
  SMELT_RETURN_IF_ERROR(change.Check(name_, rows_, columns_));
  const auto step = std::make_shared<Step>();
  step->change = std::move(change);
  steps_.push_back(step);
  return absl::OkStatus();
}

absl::Status MergedRows::Read(uint64_t first, uint64_t count, float* out) const {
  if (count == 0) return absl::OkStatus();
  SMELT_RETURN_IF_ERROR(base_(first, count, out));
  for (size_t i = 0; i < steps_.size(); ++i) {
    Step& step = *steps_[i];
    std::vector<float> alone;
    if (step.change.lengths && i != 0) {
      alone.resize(count * columns_);
      SMELT_RETURN_IF_ERROR(ReadAlone(step, first, count, alone.data()));
    }
    SMELT_RETURN_IF_ERROR(AddTo(step.change, first, count, out));
    if (step.change.lengths) {
      SMELT_RETURN_IF_ERROR(
          SetLengths(step, first, count, alone.empty() ? out : alone.data(), out));
    }
  }
  return absl::OkStatus();
}

/// The unchanged tensor with what one adapter adds to it.
absl::Status MergedRows::ReadAlone(const Step& step, uint64_t first, uint64_t count,
                                   float* out) const {
  SMELT_RETURN_IF_ERROR(base_(first, count, out));
  return AddTo(step.change, first, count, out);
}

absl::Status MergedRows::AddTo(const TensorChange& change, uint64_t first, uint64_t count,
                               float* out) const {
  const uint64_t end = first + count;
  if (change.replaced) {
    const auto& from = change.replaced->from;
    for (auto it = from.lower_bound(first); it != from.end() && it->first < end; ++it) {
      SMELT_RETURN_IF_ERROR(
          change.replaced->values.ReadRows(it->second, 1, out + (it->first - first) * columns_));
    }
  }
  for (const LowRank& product : change.products) {
    const uint64_t low = std::max(first, product.first_row),
                   high = std::min(end, product.first_row + product.left.rows());
    if (low >= high) continue;
    SMELT_RETURN_IF_ERROR(
        AddRows(product, low - product.first_row, high - low, out + (low - first) * columns_));
  }
  return absl::OkStatus();
}

absl::Status MergedRows::SetLengths(Step& step, uint64_t first, uint64_t count, const float* alone,
                                    float* out) const {
  const Lengths& lengths = *step.change.lengths;
  if (lengths.of_columns) {
    SMELT_RETURN_IF_ERROR(FindColumnFactors(step));
    for (uint64_t i = 0; i < count; ++i) {
      float* const row = out + i * columns_;
      for (uint64_t c = 0; c < columns_; ++c) row[c] *= step.column_factors[c];
    }
    return absl::OkStatus();
  }
  std::vector<float> wanted(count);
  SMELT_RETURN_IF_ERROR(lengths.values.ReadRows(first, count, wanted.data()));
  for (uint64_t i = 0; i < count; ++i) {
    const float* const line = alone + i * columns_;
    double square = 0;
    for (uint64_t c = 0; c < columns_; ++c) square += static_cast<double>(line[c]) * line[c];
    const float factor = wanted[i] / LengthOf(square);
    float* const row = out + i * columns_;
    for (uint64_t c = 0; c < columns_; ++c) row[c] *= factor;
  }
  return absl::OkStatus();
}

absl::Status MergedRows::FindColumnFactors(Step& step) const {
  std::call_once(step.looked, [&] {
    absl::StatusOr<std::vector<float>> factors = ColumnFactors(step);
    step.found = factors.status();
    if (factors.ok()) step.column_factors = *std::move(factors);
  });
  return step.found;
}

absl::StatusOr<std::vector<float>> MergedRows::ColumnFactors(const Step& step) const {
  std::vector<double> squares(columns_);
  const uint64_t piece = std::max<uint64_t>(1, kPiece / columns_);
  std::vector<float> rows(std::min(piece, rows_) * columns_);
  for (uint64_t first = 0; first < rows_; first += piece) {
    const uint64_t count = std::min(piece, rows_ - first);
    SMELT_RETURN_IF_ERROR(ReadAlone(step, first, count, rows.data()));
    for (uint64_t i = 0; i < count; ++i) {
      const float* const row = rows.data() + i * columns_;
      for (uint64_t c = 0; c < columns_; ++c) squares[c] += static_cast<double>(row[c]) * row[c];
    }
  }
  std::vector<float> factors(columns_);
  const RecipeMatrix& wanted = step.change.lengths->values;
  SMELT_RETURN_IF_ERROR(wanted.ReadRows(0, wanted.rows(), factors.data()));
  for (uint64_t c = 0; c < columns_; ++c) factors[c] /= LengthOf(squares[c]);
  return factors;
}

}  // namespace smelt
