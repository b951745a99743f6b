// The gated delta rule.
#pragma once

#include "absl/status/status.h"
#include "infer/cpu/layout.h"
#include "infer/cpu/state.h"
#include "infer/graph.h"

namespace smelt::cpu {

/// q and k in `qkv` are brought to length 1 in place; the state keeps each value head's S.
absl::Status Delta(const DeltaOp& op, const Layout& layout, float* qkv, const float* beta,
                   const float* alpha, CpuState& state, float* out);

}  // namespace smelt::cpu
