// Vector kernels of the CPU backend besides the matrix products. Panels are [feature][32 lanes];
// rows are one token's features.
#pragma once

#include <cstddef>
#include <cstdint>

#include "infer/graph.h"

namespace smelt::cpu {

struct NormArgs {
  NormKind kind = NormKind::kRms;
  float epsilon = 0;
  const float* weight = nullptr;  ///< or nullptr
  const float* bias = nullptr;    ///< or nullptr
  size_t features = 0;
  size_t group = 0;    ///< divides features
  size_t weights = 0;  ///< entries of weight and bias; they repeat over the features
  bool add = false;    ///< out += instead of out =
};
void NormPanel(const NormArgs& args, const float* in, float* out);
void NormRow(const NormArgs& args, const float* in, float* out);

/// out = store(acc + bias) for `rows` rows of `lanes` (1 or 32) values; bias per row or nullptr.
/// `acc` may be `out`.
void StoreRows(const float* acc, const float* bias, size_t rows, size_t lanes, Store store,
               Activation activation, float* out);

/// x *= act(z), `count` values.
void Gate(Activation activation, const float* z, size_t count, float* x);

/// x *= z.
void MultiplyBy(const float* z, size_t count, float* x);

/// gpt-oss: out = (clamp(up, -7, 7) + 1) g sigmoid(1.702 g), g = min(gate, 7); in place of gate.
void ClampedGate(const float* up, size_t count, float* gate);

/// Rotates `heads` heads of one panel or row in place; cos and sin are [pair][lanes].
void RotateHeads(float* x, size_t heads, size_t head_size, RopeStyle style, size_t pairs,
                 const float* cos, const float* sin, size_t lanes);

/// out[i] += scale[i % 32] * in[i]: weighted sum of an expert's panel.
void AddScaledPanel(const float* in, const float* scale, size_t features, float* out);

float DotF32(const float* a, const float* b, size_t count);
/// out += scale * in
void AddScaled(const float* in, float scale, size_t count, float* out);

/// The score of a key that is not seen. Far below any other, yet finite: exp(kMasked - kMasked) is
/// no NaN, and a later real maximum wipes such sums out.
inline constexpr float kMasked = -1e30f;

struct SoftmaxArgs {
  float scale = 1, softcap = 0;
  uint64_t first_key = 0;    ///< position of scores row 0
  uint64_t first_query = 0;  ///< position of lane 0
  uint64_t window = 0;       ///< 0 = all
  bool causal = true;
};
/// One block of the online softmax of 32 queries: scores [keys][32] become exp(score - new
/// maximum); `maximum` and `sum` are brought up to date and `correction` is what earlier sums must
/// be multiplied by.
void SoftmaxBlock(const SoftmaxArgs& args, size_t keys, float* scores, float* maximum, float* sum,
                  float* correction);
/// x[f][lane] *= factor[lane]
void ScalePanel(const float* factor, size_t features, float* x);

}  // namespace smelt::cpu
