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

/// A head's state in Mamba-2: blocks of 32 state values, [state / 32][head_size][32], the last one
/// filled up with zeros, so that it is both an operand and a result of GemmPanel.
inline constexpr size_t kStateBlock = 32;

/// Mamba-2, token by token, one head. x, out: [token][...], `head_size` values a token; dt, decay:
/// [token] (after softplus and limits; exp(dt A)); b, c: [token][...], filled up with zeros to
/// `blocks` blocks.
struct Scan2Head {
  const float *x = nullptr, *b = nullptr, *c = nullptr;
  size_t x_stride = 0, bc_stride = 0, out_stride = 0;
  const float *dt = nullptr, *decay = nullptr;
  float d = 0;
  float *h = nullptr, *out = nullptr;
  size_t tokens = 0, head_size = 0, blocks = 0;
};
void RunScan2(const Scan2Head& head);

/// dt[i] = min(max(softplus(raw[i] + bias), minimum), maximum).
void TimeSteps(const float* raw, float bias, float minimum, float maximum, size_t count, float* dt);

/// L[t] = a (dt[0] + ... + dt[t]) as a sum of two floats, so that the difference of two of them is
/// exact to a float's own precision.
void SumDecay(double a, const float* dt, size_t tokens, float* high, float* low);

/// What a chunk of up to 32 tokens needs of one head's decay: L by SumDecay.
struct ChunkDecay {
  const float *dt = nullptr, *high = nullptr, *low = nullptr;
  size_t tokens = 0;
  float d = 0;
};
/// products, weights: [s][32]: what token s gives to token t:
///   weights[s][t] = products[s][t] exp(L[t] - L[s]) dt[s] for s < t, 0 for s > t, + d for s = t;
/// carried[t] = exp(L[t]) (what the state from before is worth at t);
/// left[s] = exp(L[last] - L[s]) dt[s] (what s leaves in the state).
void ChunkWeights(const ChunkDecay& decay, const float* products, float* weights, float* carried,
                  float* left);

/// out[t][f] = silu(bias[f] + sum over j of weight[f][j] in[t + j][f]), or without silu: `in` has
/// taps - 1 rows more, in front. out has the same stride.
void ConvolveRows(const float* in, size_t stride, size_t tokens, size_t channels, size_t taps,
                  const float* weight, const float* bias, bool silu, float* out);

/// The same for one channel and 32 tokens: `in` has taps - 1 + 32 values.
void ConvolvePanel(const float* in, size_t taps, const float* weight, float bias, bool silu,
                   float* out);

}  // namespace smelt::cpu
