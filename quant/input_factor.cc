#include "quant/input_factor.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "lib/base/parallel.h"
#include "lib/base/status.h"
#include "quant/cholesky.h"

namespace smelt {
namespace {

/// The share of itself by which the square of each input grows: what the tokens that were seen say
/// about two inputs together is worth that much less, the less the fewer they were for so many
/// inputs. Judged by KL divergence (README.md).
constexpr double kDamping = 0.25;
/// What every column weighs at least, as a share of the mean: it keeps its weights.
constexpr double kLeast = 5e-3;

/// Runs of columns that stay together, the largest first.
constexpr uint64_t kRuns[] = {256, 128, 64, 32, 16, 8, 1};

/// Sorts the runs of `size` columns in order[begin .. end) by falling sum of squares, then the
/// columns of each.
void SortRuns(std::span<const double> squares, const uint64_t* size, uint32_t* order,
              uint64_t count) {
  const uint64_t runs = count / *size;
  std::vector<std::pair<double, uint32_t>> sums(runs);
  for (uint64_t i = 0; i < runs; ++i) {
    double sum = 0;
    for (uint64_t k = 0; k < *size; ++k) sum += squares[order[i * *size + k]];
    sums[i] = {-sum, order[i * *size]};  // the columns of a run still stand in their own order
  }
  std::sort(sums.begin(), sums.end());
  for (uint64_t i = 0; i < runs; ++i) {
    std::iota(order + i * *size, order + (i + 1) * *size, sums[i].second);
    if (*size > 1) SortRuns(squares, size + 1, order + i * *size, *size);
  }
}

std::vector<uint32_t> MakeOrder(std::span<const double> squares) {
  std::vector<uint32_t> order(squares.size());
  std::iota(order.begin(), order.end(), 0u);
  const uint64_t* size = kRuns;
  while (squares.size() % *size != 0) ++size;
  SortRuns(squares, size, order.data(), order.size());
  return order;
}

absl::Status NoGram(uint64_t column) {
  return Error(ErrorCode::kInvalidInput, "the second moment of a matrix' inputs is none at column ",
               column, ": squares must be numbers from zero on, and products within them");
}

/// The mean of the squares; checks the matrix.
absl::StatusOr<double> CheckGram(uint64_t columns, std::span<const float> gram) {
  // Products are sums in f32 as well: they may go beyond the squares by their rounding.
  constexpr double kRounding = 1 + 1e-3;
  std::vector<double> squares(columns);
  for (uint64_t j = 0; j < columns; ++j) {
    squares[j] = gram[j * columns + j];
    if (!std::isfinite(squares[j]) || squares[j] < 0) return NoGram(j);
  }
  SMELT_RETURN_IF_ERROR(ParallelFor(columns, 64, [&](uint64_t begin, uint64_t end) -> absl::Status {
    for (uint64_t j = begin; j < end; ++j) {
      for (uint64_t k = 0; k < j; ++k) {
        const double product = gram[j * columns + k];
        if (!(product * product <= kRounding * squares[j] * squares[k])) return NoGram(j);
      }
    }
    return absl::OkStatus();
  }));
  return std::accumulate(squares.begin(), squares.end(), 0.0) / static_cast<double>(columns);
}

/// A_jk and R_kk^2 of the groups of `size` on the diagonal of `moment`.
InputFactor::Local FactorGroups(uint64_t columns, uint32_t size, const float* moment) {
  InputFactor::Local local;
  local.feedback.resize(columns * size);
  local.weights.resize(columns);
  std::vector<double> r(static_cast<size_t>(size) * size);
  for (uint64_t first = 0; first < columns; first += size) {
    // R of H = R R^T, the last column first.
    for (uint64_t j = 0; j < size; ++j)
      for (uint64_t k = 0; k < size; ++k)
        r[j * size + k] = moment[(first + j) * columns + first + k];
    for (uint64_t k = size; k-- > 0;) {
      const double pivot = r[k * size + k];
      local.weights[first + k] = static_cast<float>(pivot);
      for (uint64_t j = 0; j < k; ++j) {
        const double a = r[j * size + k] / pivot;
        local.feedback[(first + j) * size + k] = static_cast<float>(a);
        for (uint64_t i = 0; i <= j; ++i) r[i * size + j] -= a * r[i * size + k];
      }
    }
  }
  return local;
}

}  // namespace

uint64_t InputFactor::Bytes(uint64_t columns) {
  return 2 * columns * columns * sizeof(float) + columns * (48 + 4) * sizeof(float);
}

uint64_t InputFactor::PeakBytes(uint64_t columns) {
  return Bytes(columns) + columns * CholeskyStride(columns) * sizeof(double);
}

const InputFactor::Local* InputFactor::local(uint32_t size) const {
  if (size == 16) return &local16_;
  return size == 32 ? &local32_ : nullptr;
}

double InputFactor::ErrorOf(uint64_t rows, std::span<const float> differences) const {
  const uint64_t n = columns();
  std::vector<float> own(rows * n);  // by position
  for (uint64_t r = 0; r < rows; ++r)
    for (uint64_t k = 0; k < n; ++k) own[r * n + k] = differences[r * n + order_[k]];
  std::vector<float> all = own;  // with what each takes over
  for (uint64_t j = 0; j < n; ++j) {
    const float* const feedback = feedback_.data() + j * n;
    for (uint64_t r = 0; r < rows; ++r) {
      const float error = own[r * n + j];
      float* const to = all.data() + r * n;
      for (uint64_t k = j + 1; k < n; ++k) to[k] += error * feedback[k];
    }
  }
  double sum = 0;
  for (uint64_t i = 0; i < all.size(); ++i) {
    const double error = static_cast<double>(all[i]);
    sum += static_cast<double>(weights_[i % n]) * error * error;
  }
  return sum;
}

absl::StatusOr<InputFactor> InputFactor::Make(uint64_t columns, std::span<const float> gram,
                                              uint64_t tokens) {
  SMELT_ASSIGN_OR_RETURN(const double mean, CheckGram(columns, gram));
  const bool known = mean > 0 && tokens > 0;
  const double unit = known ? 1 / mean : 0;
  const double damping =
      known ? kDamping * (1 + static_cast<double>(columns) / static_cast<double>(tokens)) : 0;
  std::vector<double> squares(columns), least(columns);
  for (uint64_t j = 0; j < columns; ++j) squares[j] = unit * gram[j * columns + j];

  InputFactor factor;
  factor.order_ = MakeOrder(squares);
  factor.moment_.resize(columns * columns);
  factor.feedback_.resize(columns * columns);
  factor.weights_.resize(columns);
  factor.squares_.resize(columns);
  const auto& order = factor.order_;
  const uint64_t stride = CholeskyStride(columns);
  // T of the matrix in reverse is R of H = R R^T in reverse.
  std::vector<double> reverse(columns * stride);
  SMELT_RETURN_IF_ERROR(ParallelFor(columns, 16, [&](uint64_t begin, uint64_t end) -> absl::Status {
    for (uint64_t j = begin; j < end; ++j) {
      double* const row = reverse.data() + (columns - 1 - j) * stride;
      for (uint64_t k = 0; k < columns; ++k) {
        const uint64_t a = std::max(order[j], order[k]), b = std::min(order[j], order[k]);
        double value = unit * gram[a * columns + b];
        if (j == k) {
          value = known ? value * (1 + damping) + kLeast : 1;
          factor.squares_[a] = static_cast<float>(value);
        }
        row[columns - 1 - k] = value;
        factor.moment_[j * columns + k] = static_cast<float>(value);
      }
      // What damping leaves of a square whatever was decided before; rounding takes little of it.
      least[columns - 1 - j] = known ? (squares[order[j]] * damping + kLeast) / 2 : 0;
    }
    return absl::OkStatus();
  }));
  SMELT_ASSIGN_OR_RETURN(const bool factored,
                         FactorCholesky(columns, least.data(), reverse.data()));
  if (!factored) {
    return Error(ErrorCode::kInvalidInput,
                 "the second moment of a matrix' inputs is none: its values contradict each other");
  }
  SMELT_RETURN_IF_ERROR(ParallelFor(columns, 16, [&](uint64_t begin, uint64_t end) -> absl::Status {
    for (uint64_t k = begin; k < end; ++k) {
      const double* const row = reverse.data() + (columns - 1 - k) * stride;
      const double pivot = row[columns - 1 - k];
      factor.weights_[k] = static_cast<float>(pivot * pivot);
      for (uint64_t j = 0; j < k; ++j) {
        factor.feedback_[j * columns + k] = static_cast<float>(row[columns - 1 - j] / pivot);
      }
    }
    return absl::OkStatus();
  }));
  if (columns % 16 == 0) factor.local16_ = FactorGroups(columns, 16, factor.moment_.data());
  if (columns % 32 == 0) factor.local32_ = FactorGroups(columns, 32, factor.moment_.data());
  return factor;
}

}  // namespace smelt
