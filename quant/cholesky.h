// The Cholesky factor of a symmetric positive definite matrix.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"

namespace smelt {

/// Rows of matrices stand this far apart.
inline constexpr uint64_t CholeskyStride(uint64_t n) { return (n + 7) / 8 * 8; }

/// Replaces the upper triangle of `a` (row-major, n rows CholeskyStride(n) apart, what is behind
/// column n finite) by the upper triangular T of a = T^T T; what is below the diagonal is lost.
/// False where a pivot is less than `least[i]`. The same bytes for any number of threads and every
/// instruction set.
absl::StatusOr<bool> FactorCholesky(uint64_t n, const double* least, double* a);

}  // namespace smelt
