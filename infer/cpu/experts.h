// Mixture of experts.
#pragma once

#include "absl/status/status.h"
#include "infer/cpu/layout.h"
#include "infer/cpu/matmul.h"
#include "infer/graph.h"

namespace smelt::cpu {

/// Routes every token by `in`, then takes expert after expert: its tokens of `expert_in` are
/// gathered, so that its weights are decoded once per batch.
absl::Status RunExperts(const ExpertsOp& op, const Layout& layout, Precision precision, Input& in,
                        const float* expert_in, float* out);

}  // namespace smelt::cpu
