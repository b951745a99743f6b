#include "formats/quantized/scaled_matrix.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace smelt {
namespace {

class ScaledMatrix : public ComputedMatrix {
 public:
  ScaledMatrix(std::string format, ScaledParts parts)
      : ComputedMatrix(std::move(format), 8), parts_(std::move(parts)) {}

  absl::Status ReadRows(uint64_t first, uint64_t count, float* out) const override {
    const uint64_t columns = parts_.values.columns(), blocks = parts_.scales.columns();
    if (count == 0) return absl::OkStatus();
    const uint64_t first_scale = ScaleRow(first),
                   scale_rows = ScaleRow(first + count - 1) + 1 - first_scale;
    std::vector<float> scales(scale_rows * blocks), zeros;
    SMELT_RETURN_IF_ERROR(parts_.scales.ReadScales(first_scale, scale_rows, scales.data()));
    if (parts_.zeros) {
      zeros.resize(scales.size());
      SMELT_RETURN_IF_ERROR(parts_.zeros->ReadScales(first_scale, scale_rows, zeros.data()));
    }
    SMELT_RETURN_IF_ERROR(parts_.values.ReadFloats(first, count, out));
    for (uint64_t i = 0; i < count; ++i) {
      const uint64_t at = (ScaleRow(first + i) - first_scale) * blocks;
      float* const row = out + i * columns;
      for (uint64_t b = 0; b < blocks; ++b) {
        const uint64_t begin = b * parts_.block_columns;
        const uint64_t end = std::min(begin + parts_.block_columns, columns);
        const float scale = scales[at + b], zero = zeros.empty() ? 0.0f : zeros[at + b];
        if (zero != 0) {
          for (uint64_t c = begin; c < end; ++c) row[c] -= zero;
        }
        for (uint64_t c = begin; c < end; ++c) row[c] *= scale;
      }
      if (parts_.factor == 1) continue;
      for (uint64_t c = 0; c < columns; ++c) row[c] *= parts_.factor;
    }
    return absl::OkStatus();
  }

 private:
  /// The row of `scales` that holds those of a row of values.
  uint64_t ScaleRow(uint64_t row) const {
    const uint64_t per_matrix = (parts_.matrix_rows + parts_.block_rows - 1) / parts_.block_rows;
    return row / parts_.matrix_rows * per_matrix + row % parts_.matrix_rows / parts_.block_rows;
  }

  ScaledParts parts_;
};

}  // namespace

std::shared_ptr<const ComputedMatrix> MakeScaledMatrix(std::string format, ScaledParts parts) {
  return std::make_shared<ScaledMatrix>(std::move(format), std::move(parts));
}

}  // namespace smelt
