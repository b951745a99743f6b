// The f32 micro-kernel of every large product.
#pragma once

#include <cstddef>
#include <cstdint>

namespace smelt::cpu {

/// out[r][lane] (+)= sum over k of w[r * row_stride + k * k_stride] x[k][lane], 32 lanes, for
/// `rows` rows; all of x and out aligned to 64 bytes. One of the strides is 1 in all uses; the
/// order of additions is that of k.
void GemmPanel(const float* w, size_t row_stride, size_t k_stride, size_t rows, const float* x,
               size_t k, float* out, bool accumulate);

/// Fused multiply-adds until `iterations` are done, on as many registers as the machine has:
/// floating point operations done. For the benchmark's peak.
double FmaPeakWork(uint64_t iterations);

}  // namespace smelt::cpu
