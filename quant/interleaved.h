// Rows of a block format interleaved: the same bytes of as many rows as a vector register has lanes
// lie side by side, so that one lane computes one row. A row's scales are then unpacked for all of
// them at once, nothing is summed across lanes, and generation runs at the speed at which the
// memory hands over the weights. The bytes are those of the format, in another order.
#pragma once

#include <cstdint>

#include "lib/base/tensor_type.h"
#include "quant/codec.h"

namespace smelt {

/// Kernels for this machine; `columns` are a multiple of the block, of 16-bit floats even.
struct InterleavedKernels {
  uint64_t rows = 0;  ///< of a group

  /// Of one group.
  uint64_t (*group_bytes)(uint64_t columns) = nullptr;
  /// Interleaves a group's rows, which lie one after the other.
  void (*interleave)(const uint8_t* rows, uint64_t columns, uint8_t* group) = nullptr;
  /// out[r] = dot product of row r of some groups: of block formats
  /// with activations rounded to 8 bits, of 16-bit floats with activations as they are.
  void (*dot)(const uint8_t* group, uint64_t groups, uint64_t columns, const Activations8& x,
              float* out) = nullptr;
  void (*dot_f32)(const uint8_t* group, uint64_t groups, uint64_t columns, const float* x,
                  float* out) = nullptr;
};

/// nullptr where rows as they lie are as good (or where there are no kernels). The same for the
/// life of the process unless ForceSimdTarget (simd.h) is called.
const InterleavedKernels* FindInterleaved(TensorType type);

}  // namespace smelt
