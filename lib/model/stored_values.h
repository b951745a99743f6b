// Stored values: to f32, compared, and the search for such as are no weights.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"
#include "formats/container.h"

namespace smelt {

/// `n` elements of a float type (F64 F32 F16 BF16), `step` bytes from one to the next, any
/// alignment. F64 is rounded once.
void DecodeElements(RawType type, const std::byte* in, uint64_t step, uint64_t n, float* out);

/// `n` elements of `size` bytes, `step` bytes apart, laid together.
void CopyElements(const std::byte* in, uint64_t step, uint64_t n, uint64_t size, std::byte* out);

/// "NaN", "+Inf" or "-Inf", of a value that is one of them.
std::string_view NotFiniteText(float value);

/// Index of the first NaN or infinity.
std::optional<uint64_t> FirstNotFinite(const float* values, uint64_t n);

}  // namespace smelt
