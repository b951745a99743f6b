// Products of block formats with activations rounded to 8 bits.
#pragma once

#include "infer/cpu/matmul.h"

namespace smelt::cpu {

/// sums[token * rows + r] for rows [first, first + rows) of the weight; the input has one lane.
void RowsQ8(const CpuWeight& weight, uint64_t first, uint64_t rows, const Input& in, float* sums);

/// The same for panels of 32 tokens, stored as MatMul says.
absl::Status PanelsQ8(const Matrix& matrix, Store store, Activation activation, const Input& in,
                      float* out);

}  // namespace smelt::cpu
