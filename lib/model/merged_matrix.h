// A weight with what low-rank adapters add to it.
#pragma once

#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "formats/computed_matrix.h"
#include "formats/quantized/stored_matrix.h"

namespace smelt {

/// base + scale * B A, of a base of rows x columns: A is (rank, columns), B (rows, rank). With
/// `magnitudes` (DoRA) every row of that has the length that they say.
struct LowRank {
  StoredMatrix a, b;
  /// The base lies the other way: A is (rank, rows), B (columns, rank).
  bool turned = false;
  float scale = 1;
  std::optional<StoredMatrix> magnitudes;
};

/// `base`: a matrix. kInvalidInput where the shapes do not fit.
absl::StatusOr<std::shared_ptr<const ComputedMatrix>> MergeLowRank(const RawTensor& base,
                                                                   LowRank change);

}  // namespace smelt
