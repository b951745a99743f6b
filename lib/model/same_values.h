// Whether two published tensors hold the same values, in whatever element types.
#pragma once

#include "absl/status/statusor.h"
#include "formats/container.h"

namespace smelt {

/// True where shapes are equal and all values are, at the lesser precision of the two element
/// types. Reads both, up to the first difference.
absl::StatusOr<bool> SameValues(const RawTensor& a, const RawTensor& b);

}  // namespace smelt
