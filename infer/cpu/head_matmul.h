// Products with a matrix for each head.
#pragma once

#include "absl/status/status.h"
#include "infer/cpu/layout.h"
#include "infer/graph.h"

namespace smelt::cpu {

/// A product for each head with a matrix of its own: the head's features of `in` from 0 on, those
/// of `out` from out_first on. Inputs are never rounded.
struct HeadMatMulOp {
  uint32_t heads = 0, in_stride = 0, out_stride = 0, out_first = 0;
  Matrix matrix = {};  ///< rows and columns of one head, expert_rows from head to head
};

/// Head h of out = its matrix times head h of in, for all tokens, in f32.
absl::Status HeadMatMul(const HeadMatMulOp& op, const Layout& layout, const float* in, float* out);

}  // namespace smelt::cpu
