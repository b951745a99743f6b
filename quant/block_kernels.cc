#include "quant/block_kernels.h"

#include <cmath>
#include <cstring>

#include "lib/base/float16.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/block_kernels.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace smelt {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A group has at least 16 elements, so no vector crosses a group.
using DF = hn::CappedTag<float, 16>;
using VF = hn::Vec<DF>;

/// Lanes(DF) codes as floats.
HWY_INLINE VF LoadCodes(const int8_t* codes) {
  const DF df;
  const hn::Rebind<int32_t, DF> di;
  const hn::Rebind<int8_t, DF> d8;
  return hn::ConvertTo(df, hn::PromoteTo(di, hn::LoadU(d8, codes)));
}

void ExpandCodes(const int8_t* codes, const float* scales, const float* minimums, size_t count,
                 uint32_t group, float* out) {
  const DF df;
  const size_t lanes = hn::Lanes(df);
  for (size_t g = 0; g < count / group; ++g) {
    const VF scale = hn::Set(df, scales[g]);
    const int8_t* c = codes + g * group;
    float* o = out + g * group;
    if (minimums == nullptr) {
      for (size_t i = 0; i < group; i += lanes) {
        hn::StoreU(hn::Mul(scale, LoadCodes(c + i)), df, o + i);
      }
    } else {
      const VF minimum = hn::Set(df, minimums[g]);
      for (size_t i = 0; i < group; i += lanes) {
        hn::StoreU(hn::Sub(hn::Mul(scale, LoadCodes(c + i)), minimum), df, o + i);
      }
    }
  }
}

float DotCodes(const int8_t* codes, const float* scales, const float* minimums, size_t count,
               uint32_t group, const float* x) {
  const DF df;
  const size_t lanes = hn::Lanes(df);
  VF sum = hn::Zero(df);
  for (size_t g = 0; g < count / group; ++g) {
    const VF scale = hn::Set(df, scales[g]);
    const VF offset = hn::Set(df, minimums == nullptr ? 0.0f : -minimums[g]);
    for (size_t i = g * group; i < (g + 1) * group; i += lanes) {
      const VF w = hn::MulAdd(scale, LoadCodes(codes + i), offset);
      sum = hn::MulAdd(w, hn::LoadU(df, x + i), sum);
    }
  }
  return hn::GetLane(hn::SumOfLanes(df, sum));
}

float DotCodesQ8(const int8_t* codes, const float* scales, const float* minimums, size_t count,
                 uint32_t group, const Activations8& x, size_t offset) {
  const hn::CappedTag<int16_t, 16> d16;
  const hn::Rebind<int8_t, decltype(d16)> d8;
  const hn::RepartitionToWide<decltype(d16)> d32;
  const hn::Rebind<float, decltype(d32)> df;
  const size_t lanes = hn::Lanes(d16);
  auto sum = hn::Zero(df);
  float below = 0;
  for (size_t g = 0; g < count / group; ++g) {
    const size_t first = g * group;
    auto acc = hn::Zero(d32), acc_high = hn::Zero(d32);
    for (size_t i = first; i < first + group; i += lanes) {
      const auto w = hn::PromoteTo(d16, hn::LoadU(d8, codes + i));
      const auto a = hn::PromoteTo(d16, hn::LoadU(d8, x.codes + offset + i));
      acc = hn::ReorderWidenMulAccumulate(d32, w, a, acc, acc_high);
    }
    const float scale = scales[g] * x.scales[(offset + first) / 32];
    sum = hn::MulAdd(hn::ConvertTo(df, hn::Add(acc, acc_high)), hn::Set(df, scale), sum);
    if (minimums != nullptr) {
      const float* sums = x.sums + (offset + first) / 16;
      below += minimums[g] * (group == 16 ? sums[0] : sums[0] + sums[1]);
    }
  }
  return hn::GetLane(hn::SumOfLanes(df, sum)) - below;
}

void QuantizeActivations8(const float* x, uint64_t columns, int8_t* codes, float* scales,
                          float* sums, float* pair_sums) {
  const DF df;
  const hn::Rebind<int32_t, DF> di;
  const hn::Rebind<int8_t, DF> d8;
  const size_t lanes = hn::Lanes(df);
  for (uint64_t g = 0; g < columns / 32; ++g) {
    const float* in = x + 32 * g;
    VF largest = hn::Zero(df), bad = hn::Zero(df);
    for (size_t i = 0; i < 32; i += lanes) {
      const VF v = hn::LoadU(df, in + i);
      largest = hn::Max(largest, hn::Abs(v));
      bad = hn::MulAdd(v, hn::Zero(df), bad);  // NaN where v is no number or infinite
    }
    const float max_abs = hn::GetLane(hn::MaxOfLanes(df, largest));
    const bool finite = hn::AllTrue(df, hn::Eq(bad, hn::Zero(df)));
    const float scale = finite ? max_abs / 127.0f : NAN;
    // A group so small that the inverse overflows is as good as zero.
    const float inverse = max_abs < 1e-30f ? 0.0f : 127.0f / max_abs;
    scales[g] = scale;
    for (size_t half = 0; half < 2; ++half) {
      auto sum = hn::Zero(di);
      for (size_t i = 16 * half; i < 16 * half + 16; i += lanes) {
        const VF v = finite ? hn::LoadU(df, in + i) : hn::Zero(df);
        const auto q = hn::NearestInt(hn::Mul(v, hn::Set(df, inverse)));
        sum = hn::Add(sum, q);
        hn::StoreU(hn::DemoteTo(d8, q), d8, codes + 32 * g + i);
      }
      sums[2 * g + half] = scale * static_cast<float>(hn::GetLane(hn::SumOfLanes(di, sum)));
    }
    pair_sums[g] = sums[2 * g] + sums[2 * g + 1];
  }
}

void Bf16ToF32(const std::byte* in, size_t count, float* out) {
  const hn::ScalableTag<uint32_t> d32;
  const hn::Rebind<uint16_t, decltype(d32)> d16;
  const uint16_t* halves = reinterpret_cast<const uint16_t*>(in);
  size_t i = 0;
  for (; i + hn::Lanes(d32) <= count; i += hn::Lanes(d32)) {
    const auto bits = hn::ShiftLeft<16>(hn::PromoteTo(d32, hn::LoadU(d16, halves + i)));
    hn::StoreU(bits, d32, reinterpret_cast<uint32_t*>(out + i));
  }
  for (; i < count; ++i) {
    uint16_t h;
    std::memcpy(&h, in + 2 * i, 2);
    out[i] = smelt::Bf16ToF32(h);
  }
}

void F32ToBf16(const float* in, size_t count, std::byte* out) {
  const hn::ScalableTag<uint32_t> d32;
  const hn::Rebind<uint16_t, decltype(d32)> d16;
  const auto one = hn::Set(d32, 1), half = hn::Set(d32, 0x7fff), quiet = hn::Set(d32, 0x40);
  const auto magnitude = hn::Set(d32, 0x7fffffff), infinity = hn::Set(d32, 0x7f800000);
  size_t i = 0;
  for (; i + hn::Lanes(d32) <= count; i += hn::Lanes(d32)) {
    const auto bits = hn::LoadU(d32, reinterpret_cast<const uint32_t*>(in + i));
    const auto upper = hn::ShiftRight<16>(bits);
    const auto rounded = hn::ShiftRight<16>(hn::Add(hn::Add(bits, half), hn::And(upper, one)));
    const auto nan = hn::Gt(hn::And(bits, magnitude), infinity);
    const auto result = hn::IfThenElse(nan, hn::Or(upper, quiet), rounded);
    hn::StoreU(hn::TruncateTo(d16, result), d16, reinterpret_cast<uint16_t*>(out) + i);
  }
  for (; i < count; ++i) {
    const uint16_t h = smelt::F32ToBf16(in[i]);
    std::memcpy(out + 2 * i, &h, 2);
  }
}

// The conversions of halves are instructions from AVX2 on (F16C); elsewhere the scalar functions do
// it.
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
HWY_INLINE VF LoadF16(const std::byte* in) {
  const DF df;
  const hn::Rebind<hwy::float16_t, DF> d16;
  return hn::PromoteTo(df, hn::LoadU(d16, reinterpret_cast<const hwy::float16_t*>(in)));
}
#else
HWY_INLINE VF LoadF16(const std::byte* in) {
  const DF df;
  alignas(64) float lanes[16];
  for (size_t i = 0; i < hn::Lanes(df); ++i) {
    uint16_t h;
    std::memcpy(&h, in + 2 * i, 2);
    lanes[i] = smelt::F16ToF32(h);
  }
  return hn::Load(df, lanes);
}
#endif

void F16ToF32(const std::byte* in, size_t count, float* out) {
  const DF df;
  size_t i = 0;
  for (; i + hn::Lanes(df) <= count; i += hn::Lanes(df)) {
    hn::StoreU(LoadF16(in + 2 * i), df, out + i);
  }
  for (; i < count; ++i) {
    uint16_t h;
    std::memcpy(&h, in + 2 * i, 2);
    out[i] = smelt::F16ToF32(h);
  }
}

void F32ToF16(const float* in, size_t count, std::byte* out) {
  size_t i = 0;
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
  const DF df;
  const hn::Rebind<hwy::float16_t, DF> d16;
  for (; i + hn::Lanes(df) <= count; i += hn::Lanes(df)) {
    hn::StoreU(hn::DemoteTo(d16, hn::LoadU(df, in + i)), d16,
               reinterpret_cast<hwy::float16_t*>(out + 2 * i));
  }
#endif
  for (; i < count; ++i) {
    const uint16_t h = smelt::F32ToF16(in[i]);
    std::memcpy(out + 2 * i, &h, 2);
  }
}

/// Four sums hide the latency of the addition. `load(i)` gives the weights from element i on.
template <typename Load, typename LoadOne>
HWY_INLINE float DotOf(const Load& load, const LoadOne& load_one, const float* x, size_t count) {
  const DF df;
  const size_t lanes = hn::Lanes(df);
  VF sum0 = hn::Zero(df), sum1 = sum0, sum2 = sum0, sum3 = sum0;
  size_t i = 0;
  for (; i + 4 * lanes <= count; i += 4 * lanes) {
    sum0 = hn::MulAdd(load(i), hn::LoadU(df, x + i), sum0);
    sum1 = hn::MulAdd(load(i + lanes), hn::LoadU(df, x + i + lanes), sum1);
    sum2 = hn::MulAdd(load(i + 2 * lanes), hn::LoadU(df, x + i + 2 * lanes), sum2);
    sum3 = hn::MulAdd(load(i + 3 * lanes), hn::LoadU(df, x + i + 3 * lanes), sum3);
  }
  const VF sum = hn::Add(hn::Add(sum0, sum1), hn::Add(sum2, sum3));
  float total = hn::GetLane(hn::SumOfLanes(df, sum));
  for (; i < count; ++i) total += load_one(i) * x[i];
  return total;
}

float DotF32(const float* w, const float* x, size_t count) {
  return DotOf([w](size_t i) HWY_ATTR { return hn::LoadU(DF(), w + i); },
               [w](size_t i) { return w[i]; }, x, count);
}

float DotF16(const std::byte* w, const float* x, size_t count) {
  return DotOf([w](size_t i) HWY_ATTR { return LoadF16(w + 2 * i); },
               [w](size_t i) {
                 uint16_t h;
                 std::memcpy(&h, w + 2 * i, 2);
                 return smelt::F16ToF32(h);
               },
               x, count);
}

float DotBf16(const std::byte* w, const float* x, size_t count) {
  return DotOf(
      [w](size_t i) HWY_ATTR {
        const hn::Rebind<uint32_t, DF> d32;
        const hn::Rebind<uint16_t, DF> d16;
        const auto halves = hn::LoadU(d16, reinterpret_cast<const uint16_t*>(w) + i);
        return hn::BitCast(DF(), hn::ShiftLeft<16>(hn::PromoteTo(d32, halves)));
      },
      [w](size_t i) {
        uint16_t h;
        std::memcpy(&h, w + 2 * i, 2);
        return smelt::Bf16ToF32(h);
      },
      x, count);
}

}  // namespace HWY_NAMESPACE
}  // namespace smelt
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace smelt {

HWY_EXPORT(ExpandCodes);
HWY_EXPORT(DotCodes);
HWY_EXPORT(DotCodesQ8);
HWY_EXPORT(QuantizeActivations8);
HWY_EXPORT(F16ToF32);
HWY_EXPORT(Bf16ToF32);
HWY_EXPORT(F32ToF16);
HWY_EXPORT(F32ToBf16);
HWY_EXPORT(DotF32);
HWY_EXPORT(DotF16);
HWY_EXPORT(DotBf16);

void ExpandCodes(const int8_t* codes, const float* scales, const float* minimums, size_t count,
                 uint32_t group, float* out) {
  HWY_DYNAMIC_DISPATCH(ExpandCodes)(codes, scales, minimums, count, group, out);
}
float DotCodes(const int8_t* codes, const float* scales, const float* minimums, size_t count,
               uint32_t group, const float* x) {
  return HWY_DYNAMIC_DISPATCH(DotCodes)(codes, scales, minimums, count, group, x);
}
float DotCodesQ8(const int8_t* codes, const float* scales, const float* minimums, size_t count,
                 uint32_t group, const Activations8& x, size_t offset) {
  return HWY_DYNAMIC_DISPATCH(DotCodesQ8)(codes, scales, minimums, count, group, x, offset);
}
void QuantizeActivations8(const float* x, uint64_t columns, int8_t* codes, float* scales,
                          float* sums, float* pair_sums) {
  HWY_DYNAMIC_DISPATCH(QuantizeActivations8)(x, columns, codes, scales, sums, pair_sums);
}
void F16ToF32(const std::byte* in, size_t count, float* out) {
  HWY_DYNAMIC_DISPATCH(F16ToF32)(in, count, out);
}
void Bf16ToF32(const std::byte* in, size_t count, float* out) {
  HWY_DYNAMIC_DISPATCH(Bf16ToF32)(in, count, out);
}
void F32ToF16(const float* in, size_t count, std::byte* out) {
  HWY_DYNAMIC_DISPATCH(F32ToF16)(in, count, out);
}
void F32ToBf16(const float* in, size_t count, std::byte* out) {
  HWY_DYNAMIC_DISPATCH(F32ToBf16)(in, count, out);
}
float DotF32(const float* w, const float* x, size_t count) {
  return HWY_DYNAMIC_DISPATCH(DotF32)(w, x, count);
}
float DotF16(const std::byte* w, const float* x, size_t count) {
  return HWY_DYNAMIC_DISPATCH(DotF16)(w, x, count);
}
float DotBf16(const std::byte* w, const float* x, size_t count) {
  return HWY_DYNAMIC_DISPATCH(DotBf16)(w, x, count);
}

}  // namespace smelt
#endif  // HWY_ONCE
