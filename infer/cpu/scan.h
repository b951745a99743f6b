// The recurrences of state-space models, and the convolution in front of them.
#pragma once

#include "absl/status/status.h"
#include "infer/cpu/layout.h"
#include "infer/cpu/state.h"
#include "infer/graph.h"

namespace smelt::cpu {

/// x = silu(causal convolution of x), or without silu, in place; the state keeps the last inputs.
absl::Status Convolve(const ConvOp& op, const Layout& layout, CpuState& state, float* x);

absl::Status Scan1(const Scan1Op& op, const Layout& layout, const float* x, const float* z,
                   const float* dt, const float* b, const float* c, CpuState& state, float* out);

absl::Status Scan2(const Scan2Op& op, const Layout& layout, const float* xbc, const float* dt,
                   CpuState& state, float* out);

}  // namespace smelt::cpu
