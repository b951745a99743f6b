#include "infer/cpu/q8_kernel.h"

#include <algorithm>

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

}  // namespace smelt::cpu
