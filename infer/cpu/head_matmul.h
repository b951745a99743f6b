// Products with a matrix for each head.
#pragma once

#include "absl/status/status.h"
#include "infer/cpu/layout.h"
#include "infer/graph.h"

namespace smelt::cpu {

/// Head h of out = its matrix times head h of in, for all tokens, in f32.
absl::Status HeadMatMul(const HeadMatMulOp& op, const Layout& layout, const float* in, float* out);

}  // namespace smelt::cpu
