#include "formats/quantized/float8_values.h"

#include "lib/base/float8.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "formats/quantized/float8_values.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace smelt {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// Magnitudes from kSpecial on are no numbers; a subnormal is what a number of the lowest exponent
/// has beyond 1.
template <int kMantissaBits, uint32_t kBias, uint32_t kSpecial>
void ToFloats(const std::byte* in, uint64_t n, const float* table, float* out) {
  constexpr uint32_t kUnit = 1u << 23, kLowest = (127 - kBias) * kUnit;
  const hn::ScalableTag<float> df;
  const hn::Rebind<uint32_t, decltype(df)> du;
  const hn::Rebind<uint8_t, decltype(df)> d8;
  const auto unit = hn::Set(du, kUnit), lowest = hn::Set(du, kLowest);
  const auto one = hn::Set(du, kLowest + kUnit), none = hn::Set(du, 0x7f800000u);
  const auto first_normal = hn::Set(du, 1u << kMantissaBits);
  const auto last = hn::Set(du, kSpecial - 1);
  uint64_t i = 0;
  for (; i + hn::Lanes(df) <= n; i += hn::Lanes(df)) {
    const auto bits = hn::PromoteTo(du, hn::LoadU(d8, reinterpret_cast<const uint8_t*>(in) + i));
    const auto magnitude = hn::And(bits, hn::Set(du, 0x7f));
    const auto subnormal = hn::VecFromMask(du, hn::Lt(magnitude, first_normal));
    const auto special = hn::And(hn::VecFromMask(du, hn::Gt(magnitude, last)), none);
    const auto number = hn::Add(hn::Add(hn::ShiftLeft<23 - kMantissaBits>(magnitude), lowest),
                                hn::And(subnormal, unit));
    const auto value = hn::Sub(hn::BitCast(df, number), hn::BitCast(df, hn::And(subnormal, one)));
    const auto sign = hn::ShiftLeft<24>(hn::And(bits, hn::Set(du, 0x80)));
    const auto all = hn::Or(hn::Or(hn::BitCast(du, value), special), sign);
    hn::StoreU(hn::BitCast(df, all), df, out + i);
  }
  for (; i < n; ++i) out[i] = table[static_cast<uint8_t>(in[i])];
}

void E4M3ToFloats(const std::byte* in, uint64_t n, float* out) {
  ToFloats<3, 7, 0x7f>(in, n, kE4M3.data(), out);
}
void E5M2ToFloats(const std::byte* in, uint64_t n, float* out) {
  ToFloats<2, 15, 0x7c>(in, n, kE5M2.data(), out);
}

}  // namespace HWY_NAMESPACE
}  // namespace smelt
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace smelt {

HWY_EXPORT(E4M3ToFloats);
HWY_EXPORT(E5M2ToFloats);

void E4M3ToFloats(const std::byte* in, uint64_t n, float* out) {
  HWY_DYNAMIC_DISPATCH(E4M3ToFloats)(in, n, out);
}
void E5M2ToFloats(const std::byte* in, uint64_t n, float* out) {
  HWY_DYNAMIC_DISPATCH(E5M2ToFloats)(in, n, out);
}

}  // namespace smelt
#endif
