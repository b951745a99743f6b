#include "infer/cpu/q8_kernel.h"

#include <algorithm>
#include <cmath>

#include "infer/cpu/layout.h"
#include "infer/cpu/q8_kernel_variants.h"
#include "quant/simd.h"

namespace smelt::cpu {
namespace {

void MultiplyPortable(const Q8Tile& t, const int8_t* codes, const float* scales, const float* sums,
                      float* out) {
  const size_t groups = t.columns / t.group;
  for (size_t r = 0; r < t.rows; ++r) {
    float total[kPanel] = {};
    for (size_t g = 0; g < groups; ++g) {
      int32_t dot[kPanel] = {};
      for (size_t k = g * t.group; k < (g + 1) * t.group; k += 4) {
        const int8_t* w = t.codes + r * t.stride + k;
        const int8_t* x = codes + k * kPanel;
        for (size_t lane = 0; lane < kPanel; ++lane) {
          for (size_t j = 0; j < 4; ++j) dot[lane] += static_cast<int32_t>(w[j]) * x[lane * 4 + j];
        }
      }
      const float* scale = scales + g * t.group / 32 * kPanel;
      for (size_t lane = 0; lane < kPanel; ++lane)
        total[lane] += t.scales[r * groups + g] * scale[lane] * static_cast<float>(dot[lane]);
      if (t.minimums == nullptr) continue;
      for (size_t s = g * t.group / 16; s < (g + 1) * t.group / 16; ++s) {
        for (size_t lane = 0; lane < kPanel; ++lane)
          total[lane] -= t.minimums[r * groups + g] * sums[s * kPanel + lane];
      }
    }
    std::copy_n(total, kPanel, out + r * kPanel);
  }
}

}  // namespace

void MultiplyQ8(const Q8Tile& tile, const int8_t* codes, const float* scales, const float* sums,
                float* out) {
#if SMELT_Q8_X86
  if (SimdAllowsVnni512()) return MultiplyQ8Vnni512(tile, codes, scales, sums, out);
  if (SimdAllowsAvx2()) return MultiplyQ8Avx2(tile, codes, scales, sums, out);
#endif
  MultiplyPortable(tile, codes, scales, sums, out);
}

void QuantizePanel(const float* x, size_t columns, int8_t* codes, float* scales, float* sums) {
  for (size_t k = 0; k < columns; k += 32) {
    float top[kPanel] = {}, inverse[kPanel];
    for (size_t j = 0; j < 32; ++j) {
      for (size_t lane = 0; lane < kPanel; ++lane)
        top[lane] = std::max(top[lane], std::fabs(x[(k + j) * kPanel + lane]));
    }
    float* scale = scales + k / 32 * kPanel;
    for (size_t lane = 0; lane < kPanel; ++lane) {
      scale[lane] = top[lane] / 127.0f;
      inverse[lane] = top[lane] > 0 ? 127.0f / top[lane] : 0.0f;
    }
    for (size_t half = 0; half < 2; ++half) {
      int32_t sum[kPanel] = {};
      for (size_t j = 16 * half; j < 16 * half + 16; ++j) {
        int8_t* to = codes + (k + j) / 4 * 4 * kPanel + j % 4;
        for (size_t lane = 0; lane < kPanel; ++lane) {
          // Adding and taking away 1.5 x 2^23 rounds half to even.
          const float rounded =
              (x[(k + j) * kPanel + lane] * inverse[lane] + 12582912.0f) - 12582912.0f;
          const int32_t code = static_cast<int32_t>(std::clamp(rounded, -127.0f, 127.0f));
          sum[lane] += code;
          to[lane * 4] = static_cast<int8_t>(code);
        }
      }
      for (size_t lane = 0; lane < kPanel; ++lane)
        sums[(k / 16 + half) * kPanel + lane] = scale[lane] * static_cast<float>(sum[lane]);
    }
  }
}

}  // namespace smelt::cpu
