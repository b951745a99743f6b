// Values of 8 bits with one scale for all, for every row, or for every block of rows and columns.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "formats/computed_matrix.h"
#include "formats/quantized/stored_matrix.h"

namespace smelt {

/// value(r, c) = (stored - zero) * scale(r / block_rows, c / block_columns), of each of the stacked
/// matrices.
struct ScaledParts {
  StoredMatrix values;
  uint64_t matrix_rows = 0;  ///< of one of the stacked matrices
  StoredMatrix scales;       ///< those of one matrix after those of another
  uint64_t block_rows = 0, block_columns = 0;
  std::optional<StoredMatrix> zeros;  ///< of the scales' shape
  float factor = 1;                   ///< multiplied with last
};

std::shared_ptr<const ComputedMatrix> MakeScaledMatrix(std::string format, ScaledParts parts);

}  // namespace smelt
