// Mixture of experts.
#pragma once

#include "absl/status/status.h"
#include "infer/cpu/layout.h"
#include "infer/cpu/matmul.h"
#include "infer/graph.h"
#include "infer/tap.h"

namespace smelt::cpu {

/// Routes every token by `in`, then takes expert after expert: its tokens of `expert_in` are
/// gathered, so that its weights are decoded once per batch. `tap` (or nullptr) sees what goes into
/// each of them.
absl::Status RunExperts(const ExpertsOp& op, const Layout& layout, Precision precision, Input& in,
                        const float* expert_in, float* out, Tap* tap);

}  // namespace smelt::cpu
