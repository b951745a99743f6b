#include "infer/cpu/gemm_kernel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "infer/cpu/gemm_kernel.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace smelt::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Fixed-size vectors: a panel of 32 lanes is a whole number of them on every target.
using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;
constexpr size_t kLanes = 32;

// 32 registers hold 12 x 2 sums and their operands, 16 hold 6 x 2.
#if HWY_TARGET <= HWY_AVX3 || HWY_ARCH_ARM
constexpr size_t kRows = 12;
#else
constexpr size_t kRows = 6;
#endif

template <size_t R, bool kUnitK>
HWY_NOINLINE void Tile(const float* HWY_RESTRICT w, size_t row_stride, size_t k_stride,
                       const float* HWY_RESTRICT x, size_t k_count, float* HWY_RESTRICT out,
                       bool accumulate) {
  const D d;
  const size_t n = hn::Lanes(d);
  const size_t sk = kUnitK ? 1 : k_stride;
  const size_t sr = kUnitK ? row_stride : 1;
  for (size_t lane = 0; lane < kLanes; lane += 2 * n) {
    V sum0[R], sum1[R];
    for (size_t r = 0; r < R; ++r) {
      sum0[r] = accumulate ? hn::Load(d, out + r * kLanes + lane) : hn::Zero(d);
      sum1[r] = accumulate ? hn::Load(d, out + r * kLanes + lane + n) : hn::Zero(d);
    }
    const float* HWY_RESTRICT px = x + lane;
    const float* HWY_RESTRICT pw = w;
    for (size_t k = 0; k < k_count; ++k) {
      const V x0 = hn::Load(d, px);
      const V x1 = hn::Load(d, px + n);
      px += kLanes;
      for (size_t r = 0; r < R; ++r) {
        const V b = hn::Set(d, pw[r * sr]);
        sum0[r] = hn::MulAdd(b, x0, sum0[r]);
        sum1[r] = hn::MulAdd(b, x1, sum1[r]);
      }
      pw += sk;
    }
    for (size_t r = 0; r < R; ++r) {
      hn::Store(sum0[r], d, out + r * kLanes + lane);
      hn::Store(sum1[r], d, out + r * kLanes + lane + n);
    }
  }
}

template <size_t R, bool kUnitK>
void Rest(size_t rows, const float* w, size_t row_stride, size_t k_stride, const float* x, size_t k,
          float* out, bool accumulate) {
  if constexpr (R > 0) {
    if (rows == R) return Tile<R, kUnitK>(w, row_stride, k_stride, x, k, out, accumulate);
    Rest<R - 1, kUnitK>(rows, w, row_stride, k_stride, x, k, out, accumulate);
  }
}

template <bool kUnitK>
void Panel(const float* w, size_t row_stride, size_t k_stride, size_t rows, const float* x,
           size_t k, float* out, bool accumulate) {
  size_t r = 0;
  for (; r + kRows <= rows; r += kRows)
    Tile<kRows, kUnitK>(w + r * row_stride, row_stride, k_stride, x, k, out + r * kLanes,
                        accumulate);
  Rest<kRows - 1, kUnitK>(rows - r, w + r * row_stride, row_stride, k_stride, x, k,
                          out + r * kLanes, accumulate);
}

void GemmPanelImpl(const float* w, size_t row_stride, size_t k_stride, size_t rows, const float* x,
                   size_t k, float* out, bool accumulate) {
  if (k_stride == 1) {
    Panel<true>(w, row_stride, 1, rows, x, k, out, accumulate);
  } else {
    Panel<false>(w, 1, k_stride, rows, x, k, out, accumulate);
  }
}

// 12 sums in registers hide the latency of the unit; named, because the compiler must not spill
// them.
double FmaPeakWorkImpl(uint64_t iterations) {
  const D d;
  V s0 = hn::Set(d, 0.0f), s1 = hn::Set(d, 1.0f), s2 = hn::Set(d, 2.0f), s3 = hn::Set(d, 3.0f);
  V s4 = hn::Set(d, 4.0f), s5 = hn::Set(d, 5.0f), s6 = hn::Set(d, 6.0f), s7 = hn::Set(d, 7.0f);
  V s8 = hn::Set(d, 8.0f), s9 = hn::Set(d, 9.0f), s10 = hn::Set(d, 10.0f), s11 = hn::Set(d, 11.0f);
  const V a = hn::Set(d, 0.999f), b = hn::Set(d, 1e-3f);
  for (uint64_t i = 0; i < iterations; ++i) {
    s0 = hn::MulAdd(s0, a, b), s1 = hn::MulAdd(s1, a, b), s2 = hn::MulAdd(s2, a, b),
    s3 = hn::MulAdd(s3, a, b);
    s4 = hn::MulAdd(s4, a, b), s5 = hn::MulAdd(s5, a, b), s6 = hn::MulAdd(s6, a, b),
    s7 = hn::MulAdd(s7, a, b);
    s8 = hn::MulAdd(s8, a, b), s9 = hn::MulAdd(s9, a, b), s10 = hn::MulAdd(s10, a, b),
    s11 = hn::MulAdd(s11, a, b);
  }
  const V total = hn::Add(hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)),
                          hn::Add(hn::Add(hn::Add(s4, s5), hn::Add(s6, s7)),
                                  hn::Add(hn::Add(s8, s9), hn::Add(s10, s11))));
  // The sums are used, so that the compiler keeps them; the count never depends on them.
  const double keep = hn::GetLane(total) > 1e30f ? 1.0 : 0.0;
  return keep + 2.0 * 12.0 * static_cast<double>(hn::Lanes(d)) * static_cast<double>(iterations);
}

}  // namespace HWY_NAMESPACE
}  // namespace smelt::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace smelt::cpu {

HWY_EXPORT(GemmPanelImpl);
HWY_EXPORT(FmaPeakWorkImpl);

void GemmPanel(const float* w, size_t row_stride, size_t k_stride, size_t rows, const float* x,
               size_t k, float* out, bool accumulate) {
  HWY_DYNAMIC_DISPATCH(GemmPanelImpl)(w, row_stride, k_stride, rows, x, k, out, accumulate);
}

double FmaPeakWork(uint64_t iterations) {
  return HWY_DYNAMIC_DISPATCH(FmaPeakWorkImpl)(iterations);
}

}  // namespace smelt::cpu
#endif  // HWY_ONCE
