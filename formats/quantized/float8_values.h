// Floats of 8 bits as f32, many at a time.
#pragma once

#include <cstddef>
#include <cstdint>

namespace smelt {

/// The values of lib/base/float8.h's tables; what is no number there is none here.
void E4M3ToFloats(const std::byte* in, uint64_t n, float* out);
void E5M2ToFloats(const std::byte* in, uint64_t n, float* out);

}  // namespace smelt
