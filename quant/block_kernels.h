// The loops that all formats share once a block is in the common form (codes, scales, minimums),
// and the conversions of 16-bit floats. Chosen at run time for the machine's instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

#include "quant/codec.h"

namespace smelt {

/// Elements that one step of the kernels handles: a super-block, or several simple blocks.
inline constexpr size_t kStep = 256;

/// Room for the common form of kStep elements.
struct StepBuffer {
  alignas(64) int8_t codes[kStep];
  alignas(64) float scales[kStep / 16];
  alignas(64) float minimums[kStep / 16];
};

/// out[i] = scales[g] * codes[i] - minimums[g]; `minimums` may be null. `count` is a multiple of
/// `group`.
void ExpandCodes(const int8_t* codes, const float* scales, const float* minimums, size_t count,
                 uint32_t group, float* out);

/// Sum of x[i] times the value of element i.
float DotCodes(const int8_t* codes, const float* scales, const float* minimums, size_t count,
               uint32_t group, const float* x);

/// The same with 8-bit activations, from element `offset` (a multiple of 32) of theirs.
float DotCodesQ8(const int8_t* codes, const float* scales, const float* minimums, size_t count,
                 uint32_t group, const Activations8& x, size_t offset);

void F16ToF32(const std::byte* in, size_t count, float* out);
void Bf16ToF32(const std::byte* in, size_t count, float* out);
void F32ToF16(const float* in, size_t count, std::byte* out);
void F32ToBf16(const float* in, size_t count, std::byte* out);
float DotF32(const float* w, const float* x, size_t count);
float DotF16(const std::byte* w, const float* x, size_t count);
float DotBf16(const std::byte* w, const float* x, size_t count);

}  // namespace smelt
