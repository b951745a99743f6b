// Dot products of quantized rows with 8-bit activations in the instructions that processors have
// for them. Highway has no portable operation for these, so the kernels carry their own target
// attributes and are chosen by a check at run time. Without one, the loops of block_kernels.h do
// the work.
#pragma once

#include <cstdint>

#include "quant/block_format.h"
#include "quant/codec.h"

namespace smelt {

/// out[r] = dot product of row r; `columns` is a multiple of the block.
using Int8DotFn = void (*)(const uint8_t* weights, uint64_t rows, uint64_t columns,
                           const Activations8& x, float* out);

/// Of a format whose codes are signed values: besides the dot product a block in the common form.
struct SignedKernels {
  Int8DotFn dot = nullptr;
  UnpackBlockFn unpack = nullptr;
};

/// The kernel for this machine (and the target that SMELT_SIMD forces); nullptr where there is
/// none.
Int8DotFn FindInt8Dot(TensorType type);
UnpackBlockFn FindVectorUnpack(TensorType type);

}  // namespace smelt
