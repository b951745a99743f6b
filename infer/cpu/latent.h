// Attention over latent vectors.
#pragma once

#include "absl/status/status.h"
#include "infer/cpu/layout.h"
#include "infer/cpu/state.h"
#include "infer/graph.h"
#include "infer/tap.h"

namespace smelt::cpu {

/// Appends the batch's latent keys to the state and fills `out`; all in the batch's layout. Few
/// tokens look at the latent vectors themselves; for many, keys and values of one head after the
/// other are made of them, a block at a time. `tap` (or nullptr) sees what goes into v_b
/// (weighted sums of latent vectors); the caller shows it the queries, which go into k_b.
absl::Status AttendLatent(const LatentAttentionOp& op, const Layout& layout, const float* q,
                          const float* k, CpuState& state, float* out, Tap* tap);

}  // namespace smelt::cpu
