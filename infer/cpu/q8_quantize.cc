#include <cmath>
#include <cstring>

#include "infer/cpu/layout.h"
#include "infer/cpu/q8_kernel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "infer/cpu/q8_quantize.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace smelt::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, 16>;
using DI = hn::RebindToSigned<D>;
using V = hn::Vec<D>;

// 16 columns of one vector of lanes: four neighbouring columns' codes share a 32-bit lane. Returns
// the sums of codes.
V QuantizeHalf(const float* x, hn::Mask<D> finite, V inverse, int8_t* codes) {
  const D d;
  const DI di;
  const auto byte = hn::Set(di, 255);
  auto sum = hn::Zero(di);
  const auto code = [&](size_t column) {
    const V v = hn::IfThenElseZero(finite, hn::Load(d, x + column * kPanel));
    const auto c = hn::NearestInt(hn::Mul(v, inverse));
    sum = hn::Add(sum, c);
    return hn::And(c, byte);
  };
  for (size_t j = 0; j < 16; j += 4) {
    const auto low = hn::Or(code(j), hn::ShiftLeft<8>(code(j + 1)));
    const auto high = hn::Or(hn::ShiftLeft<16>(code(j + 2)), hn::ShiftLeft<24>(code(j + 3)));
    alignas(64) int32_t four[16];
    hn::Store(hn::Or(low, high), di, four);
    std::memcpy(codes + j * kPanel, four, hn::Lanes(d) * sizeof(int32_t));
  }
  return hn::ConvertTo(d, sum);
}

void QuantizePanelImpl(const float* x, size_t columns, int8_t* codes, float* scales, float* sums) {
  const D d;
  for (size_t k = 0; k < columns; k += 32) {
    for (size_t lane = 0; lane < kPanel; lane += hn::Lanes(d)) {
      const float* from = x + k * kPanel + lane;
      V top = hn::Zero(d), bad = hn::Zero(d);
      for (size_t j = 0; j < 32; ++j) {
        const V v = hn::Load(d, from + j * kPanel);
        top = hn::Max(top, hn::Abs(v));
        bad = hn::MulAdd(v, hn::Zero(d), bad);  // NaN where v is no number or infinite
      }
      const hn::Mask<D> finite = hn::Eq(bad, hn::Zero(d));
      const V scale = hn::IfThenElse(finite, hn::Div(top, hn::Set(d, 127.0f)), hn::Set(d, NAN));
      hn::Store(scale, d, scales + k / 32 * kPanel + lane);
      // Not even one unit in the last place takes max abs beyond 127 after rounding. Zero columns
      // have codes 0.
      const V inverse =
          hn::IfThenElseZero(hn::Gt(top, hn::Zero(d)), hn::Div(hn::Set(d, 127.0f), top));
      for (size_t half = 0; half < 2; ++half) {
        int8_t* to = codes + (k + 16 * half) * kPanel + lane * 4;
        const V sum = QuantizeHalf(from + 16 * half * kPanel, finite, inverse, to);
        hn::Store(hn::Mul(sum, scale), d, sums + (k / 16 + half) * kPanel + lane);
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace smelt::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace smelt::cpu {

HWY_EXPORT(QuantizePanelImpl);

void QuantizePanel(const float* x, size_t columns, int8_t* codes, float* scales, float* sums) {
  HWY_DYNAMIC_DISPATCH(QuantizePanelImpl)(x, columns, codes, scales, sums);
}

}  // namespace smelt::cpu
#endif  // HWY_ONCE
