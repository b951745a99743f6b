// Softmax attention over the cache.
#pragma once

#include "absl/status/status.h"
#include "infer/cpu/layout.h"
#include "infer/cpu/state.h"
#include "infer/graph.h"

namespace smelt::cpu {

/// Appends the batch's keys and values to the state and fills `out`; all in the batch's layout.
/// `out` may be `q`'s buffer only if the two have the same size.
absl::Status Attend(const AttentionOp& op, const Layout& layout, const float* q, const float* k,
                    const float* v, CpuState& state, float* out);

/// The batch's rows of a cache, behind those that are there; the caller makes room and counts.
absl::Status AppendRows(const Layout& layout, const float* in, CpuState& state,
                        HeadCache SequenceState::*cache);

}  // namespace smelt::cpu
