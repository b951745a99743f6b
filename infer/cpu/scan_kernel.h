// Recurrences over time for a block of channels.
#pragma once

#include <cstddef>

namespace smelt::cpu {

/// Mamba over `tokens` tokens of `channels` neighbouring channels. x, dt, z, out: [token][stride],
/// of which the block's channels are the first. b, c: [token][state]. a: [state][channels]. h:
/// [state][channels], carried along. dt is raw (before softplus). channels <= 16; rows of a and h
/// are 16 apart.
struct Scan1Block {
  const float *x = nullptr, *z = nullptr, *dt = nullptr, *b = nullptr, *c = nullptr;
  const float *a = nullptr, *d = nullptr;
  float *h = nullptr, *out = nullptr;
  size_t tokens = 0, channels = 0, state = 0, stride = 0;
};
void RunScan1(const Scan1Block& block);

/// Mamba-2: one head. x, out: [token][stride], `head_size` values a token; dt, decay: [token]
/// (after softplus and limits, exp(dt A)); b, c: [token][bc_stride]. h: [head_size][state].
struct Scan2Head {
  const float *x = nullptr, *dt = nullptr, *decay = nullptr, *b = nullptr, *c = nullptr;
  float d = 0;
  float *h = nullptr, *out = nullptr;
  size_t tokens = 0, head_size = 0, state = 0, stride = 0, bc_stride = 0;
};
void RunScan2(const Scan2Head& head);

/// out[t][f] = silu(bias[f] + sum over j of weight[f][j] in[t + j][f]): `in` has taps - 1 rows
/// more, in front. out has the same stride.
void ConvolveRows(const float* in, size_t stride, size_t tokens, size_t channels, size_t taps,
                  const float* weight, const float* bias, float* out);

/// The same for one channel and 32 tokens: `in` has taps - 1 + 32 values.
void ConvolvePanel(const float* in, size_t taps, const float* weight, float bias, float* out);

}  // namespace smelt::cpu
