#include "infer/cpu/scan_kernel.h"

#include <algorithm>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "infer/cpu/scan_kernel.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "infer/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace smelt::cpu {
namespace HWY_NAMESPACE {

constexpr size_t kBlock = 16;  // channels that are scanned side by side

void RunScan1Impl(const Scan1Block& s) {
  const D d;
  const size_t n = hn::Lanes(d);
  alignas(64) float x[kBlock] = {}, dt[kBlock] = {}, z[kBlock] = {}, y[kBlock], skip[kBlock] = {};
  std::copy_n(s.d, s.channels, skip);
  for (size_t t = 0; t < s.tokens; ++t) {
    std::copy_n(s.x + t * s.stride, s.channels, x);
    std::copy_n(s.dt + t * s.stride, s.channels, dt);
    std::copy_n(s.z + t * s.stride, s.channels, z);
    const float* b = s.b + t * s.state;
    const float* c = s.c + t * s.state;
    for (size_t i = 0; i < kBlock; i += n) {
      const V step = Softplus(d, hn::Load(d, dt + i));
      const V vx = hn::Load(d, x + i);
      const V input = hn::Mul(step, vx);
      V sum = hn::Mul(hn::Load(d, skip + i), vx);
      for (size_t j = 0; j < s.state; ++j) {
        float* h = s.h + j * kBlock + i;
        const V decay = ExpOrZero(d, hn::Mul(step, hn::Load(d, s.a + j * kBlock + i)));
        const V next = hn::MulAdd(decay, hn::Load(d, h), hn::Mul(input, hn::Set(d, b[j])));
        hn::Store(next, d, h);
        sum = hn::MulAdd(next, hn::Set(d, c[j]), sum);
      }
      hn::Store(hn::Mul(sum, Activate<Activation::kSilu>(d, hn::Load(d, z + i))), d, y + i);
    }
    std::copy_n(y, s.channels, s.out + t * s.stride);
  }
}

// One value of the head at a time; the state stays in the first cache.
void RunScan2Impl(const Scan2Head& s) {
  const D d;
  const size_t n = hn::Lanes(d);
  for (size_t t = 0; t < s.tokens; ++t) {
    const float* b = s.b + t * s.bc_stride;
    const float* c = s.c + t * s.bc_stride;
    const V decay = hn::Set(d, s.decay[t]);
    for (size_t p = 0; p < s.head_size; ++p) {
      const float value = s.x[t * s.x_stride + p];
      const V input = hn::Set(d, value * s.dt[t]);
      V sum = hn::Zero(d);
      for (size_t block = 0; block < s.blocks; ++block) {
        float* h = s.h + (block * s.head_size + p) * kStateBlock;
        for (size_t j = 0; j < kStateBlock; j += n) {
          const size_t at = block * kStateBlock + j;
          const V next =
              hn::MulAdd(decay, hn::Load(d, h + j), hn::Mul(input, hn::LoadU(d, b + at)));
          hn::Store(next, d, h + j);
          sum = hn::MulAdd(next, hn::LoadU(d, c + at), sum);
        }
      }
      s.out[t * s.out_stride + p] = hn::GetLane(hn::SumOfLanes(d, sum)) + s.d * value;
    }
  }
}

void TimeStepsImpl(const float* raw, float bias, float minimum, float maximum, size_t count,
                   float* dt) {
  const D d;
  alignas(64) float values[kBlock];
  for (size_t i = 0; i < count; i += kBlock) {
    const size_t some = std::min(kBlock, count - i);
    for (size_t j = 0; j < kBlock; ++j) values[j] = raw[i + std::min(j, some - 1)];
    for (size_t j = 0; j < kBlock; j += hn::Lanes(d)) {
      const V step = Softplus(d, hn::Add(hn::Load(d, values + j), hn::Set(d, bias)));
      hn::Store(AtMost(d, AtLeast(d, step, minimum), maximum), d, values + j);
    }
    std::copy_n(values, some, dt + i);
  }
}

void ChunkWeightsImpl(const ChunkDecay& s, const float* products, float* weights, float* carried,
                      float* left) {
  const D d;
  const size_t n = hn::Lanes(d), last = s.tokens - 1;
  for (size_t lane = 0; lane < kPanel; lane += n) {
    const V high = hn::Load(d, s.high + lane), low = hn::Load(d, s.low + lane);
    hn::Store(Carried(d, high, low), d, carried + lane);
    const V rest = Left(d, high, low, s.high[last], s.low[last]);
    hn::Store(hn::Mul(rest, hn::Load(d, s.dt + lane)), d, left + lane);
    const V token = hn::Iota(d, static_cast<float>(lane));
    for (size_t from = 0; from < s.tokens; ++from) {
      float* to = weights + from * kPanel + lane;
      if (lane + n <= from) {
        hn::Store(hn::Zero(d), d, to);
        continue;
      }
      const V decay =
          hn::Mul(ExpDifference(d, high, low, s.high[from], s.low[from]), hn::Set(d, s.dt[from]));
      const V weight = hn::Mul(hn::Load(d, products + from * kPanel + lane), decay);
      const auto later = hn::Ge(token, hn::Set(d, static_cast<float>(from)));
      hn::Store(hn::IfThenElseZero(later, weight), d, to);
    }
  }
  for (size_t t = 0; t < s.tokens; ++t) weights[t * kPanel + t] += s.d;
}

void ConvolveRowsImpl(const float* in, size_t stride, size_t tokens, size_t channels, size_t taps,
                      const float* weight, const float* bias, bool silu, float* out) {
  const D d;
  const size_t n = hn::Lanes(d);
  alignas(64) float sum[kBlock];
  for (size_t f = 0; f < channels; f += kBlock) {
    const size_t count = std::min(kBlock, channels - f);
    for (size_t t = 0; t < tokens; ++t) {
      for (size_t i = 0; i < kBlock; ++i)
        sum[i] = i < count && bias != nullptr ? bias[f + i] : 0.0f;
      for (size_t j = 0; j < taps; ++j) {
        const float* row = in + (t + j) * stride + f;
        for (size_t i = 0; i < count; ++i) sum[i] += weight[(f + i) * taps + j] * row[i];
      }
      for (size_t i = 0; silu && i < kBlock; i += n)
        hn::Store(Activate<Activation::kSilu>(d, hn::Load(d, sum + i)), d, sum + i);
      std::copy_n(sum, count, out + t * stride + f);
    }
  }
}

void ConvolvePanelImpl(const float* in, size_t taps, const float* weight, float bias, bool silu,
                       float* out) {
  const D d;
  for (size_t lane = 0; lane < kPanel; lane += hn::Lanes(d)) {
    V sum = hn::Set(d, bias);
    for (size_t j = 0; j < taps; ++j)
      sum = hn::MulAdd(hn::Set(d, weight[j]), hn::LoadU(d, in + lane + j), sum);
    hn::Store(silu ? Activate<Activation::kSilu>(d, sum) : sum, d, out + lane);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace smelt::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace smelt::cpu {

HWY_EXPORT(RunScan1Impl);
HWY_EXPORT(RunScan2Impl);
HWY_EXPORT(TimeStepsImpl);
HWY_EXPORT(ChunkWeightsImpl);
HWY_EXPORT(ConvolveRowsImpl);
HWY_EXPORT(ConvolvePanelImpl);

void RunScan1(const Scan1Block& block) { HWY_DYNAMIC_DISPATCH(RunScan1Impl)(block); }
void RunScan2(const Scan2Head& head) { HWY_DYNAMIC_DISPATCH(RunScan2Impl)(head); }
void TimeSteps(const float* raw, float bias, float minimum, float maximum, size_t count,
               float* dt) {
  HWY_DYNAMIC_DISPATCH(TimeStepsImpl)(raw, bias, minimum, maximum, count, dt);
}
void SumDecay(double a, const float* dt, size_t tokens, float* high, float* low) {
  double sum = 0;
  for (size_t t = 0; t < tokens; ++t) {
    sum += a * dt[t];
    high[t] = static_cast<float>(sum);
    low[t] = static_cast<float>(sum - high[t]);
  }
}
void ChunkWeights(const ChunkDecay& decay, const float* products, float* weights, float* carried,
                  float* left) {
  HWY_DYNAMIC_DISPATCH(ChunkWeightsImpl)(decay, products, weights, carried, left);
}
void ConvolveRows(const float* in, size_t stride, size_t tokens, size_t channels, size_t taps,
                  const float* weight, const float* bias, bool silu, float* out) {
  HWY_DYNAMIC_DISPATCH(ConvolveRowsImpl)
  (in, stride, tokens, channels, taps, weight, bias, silu, out);
}
void ConvolvePanel(const float* in, size_t taps, const float* weight, float bias, bool silu,
                   float* out) {
  HWY_DYNAMIC_DISPATCH(ConvolvePanelImpl)(in, taps, weight, bias, silu, out);
}

}  // namespace smelt::cpu
#endif  // HWY_ONCE
