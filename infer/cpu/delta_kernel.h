// Kernels of the gated delta rule: a chunk of up to 32 tokens (one panel) at once, or token by
// token.
#pragma once

#include <cstddef>

namespace smelt::cpu {

/// x[f][lane] *= scale / sqrt(sum over f of x[f][lane]^2 + epsilon), 32 lanes.
void ToLength(size_t features, float epsilon, float scale, float* x);

/// What a chunk needs of one value head's gates: beta, raw (before the sigmoid), and G[t] = g[0] +
/// ... + g[t] as a sum of two floats; 32 of each.
struct DeltaGates {
  const float *beta = nullptr, *high = nullptr, *low = nullptr;
  size_t tokens = 0;
};
/// Products and weights are [s][t], 32 x 32, of tokens s and t of the chunk.
struct DeltaWeights {
  float beta[32];        ///< sigmoid
  float carried[32];     ///< exp(G[t]): what the state from before is worth at t
  float left[32];        ///< exp(G[last] - G[s]): what s is worth in the state at the end
  float solve[32 * 32];  ///< the transposed inverse of 1 + A, A[t][s] = beta[t] (k[t] k[s])
                         ///< exp(G[t] - G[s]) for s < t, else 0
  float read[32 * 32];   ///< (k[s] q[t]) exp(G[t] - G[s]) for s <= t, else 0
};
/// `kk`, `kq`: k[s] k[t] and k[s] q[t].
void MakeDeltaWeights(const DeltaGates& gates, const float* kk, const float* kq,
                      DeltaWeights& weights);

/// x[f][lane] = beta[lane] (v[f][lane] - carried[lane] x[f][lane]).
void DeltaResidue(const DeltaWeights& weights, const float* v, size_t features, float* x);

/// Token by token, one value head. q, k: [token][stride], of unit length, filled up with zeros to
/// `blocks` blocks of 32; v, out: [token][stride]; beta, decay: [token]. The state is
/// [block][value_size][32]: S[k][v] at block k / 32, lane k % 32.
struct DeltaHead {
  const float *q = nullptr, *k = nullptr, *v = nullptr;
  size_t qk_stride = 0, v_stride = 0, out_stride = 0;
  const float *beta = nullptr, *decay = nullptr;
  float *state = nullptr, *out = nullptr;
  size_t tokens = 0, value_size = 0, blocks = 0;
};
void RunDelta(const DeltaHead& head);

}  // namespace smelt::cpu
