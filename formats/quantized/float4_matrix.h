// Four-bit floats (E2M1) with a scale for every 16 or 32 of a row: MXFP4 and NVFP4.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "formats/computed_matrix.h"
#include "formats/quantized/stored_matrix.h"

namespace smelt {

/// A byte holds two neighbouring values, the first one low.
struct Float4Parts {
  StoredMatrix values;  ///< bytes, columns / 2 a row
  StoredMatrix scales;  ///< columns / group a row, E8M0 or other floats
  uint64_t group = 32;
  float factor = 1, divisor = 1;  ///< multiplied with each scale; divides it then
};

std::shared_ptr<const ComputedMatrix> MakeFloat4Matrix(std::string format, Float4Parts parts);

}  // namespace smelt
