#include "infer/cpu/kernels.h"

#include <algorithm>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "infer/cpu/kernels.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "infer/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace smelt::cpu {
namespace HWY_NAMESPACE {

// Sums over features in runs of this many, so that a long sum of f32 loses little.
constexpr size_t kRun = 64;

// sum of f(x) over the group's features, lane by lane.
template <typename F>
V SumPanel(D d, const float* in, size_t features, const F& f) {
  V total = hn::Zero(d);
  for (size_t i = 0; i < features; i += kRun) {
    V part = hn::Zero(d);
    for (size_t j = i; j < std::min(features, i + kRun); ++j)
      part = f(hn::Load(d, in + j * kPanel), part);
    total = hn::Add(total, part);
  }
  return total;
}

void NormPanelImpl(const NormArgs& a, const float* in, float* out) {
  const D d;
  const V inverse_count = hn::Set(d, 1.0f / static_cast<float>(a.group));
  for (size_t g = 0; g < a.features; g += a.group) {
    for (size_t lane = 0; lane < kPanel; lane += hn::Lanes(d)) {
      const float* x = in + g * kPanel + lane;
      V mean = hn::Zero(d);
      if (a.kind == NormKind::kLayer)
        mean =
            hn::Mul(SumPanel(d, x, a.group, [](V v, V s) { return hn::Add(s, v); }), inverse_count);
      const V square = SumPanel(d, x, a.group, [mean](V v, V s) {
        const V centred = hn::Sub(v, mean);
        return hn::MulAdd(centred, centred, s);
      });
      const V factor = hn::Div(hn::Set(d, 1.0f),
                               hn::Sqrt(hn::MulAdd(square, inverse_count, hn::Set(d, a.epsilon))));
      for (size_t j = 0; j < a.group; ++j) {
        const size_t w = (g + j) % a.weights;
        V y = hn::Mul(hn::Sub(hn::Load(d, x + j * kPanel), mean), factor);
        if (a.weight != nullptr) y = hn::Mul(y, hn::Set(d, a.weight[w]));
        if (a.bias != nullptr) y = hn::Add(y, hn::Set(d, a.bias[w]));
        float* to = out + (g + j) * kPanel + lane;
        hn::Store(a.add ? hn::Add(y, hn::Load(d, to)) : y, d, to);
      }
    }
  }
}

// The whole vectors of an array, then its rest one by one; f(tag, index).
template <typename F>
void ForAll(size_t count, const F& f) {
  const D d;
  const size_t n = hn::Lanes(d);
  size_t i = 0;
  for (; i + n <= count; i += n) f(d, i);
  for (; i < count; ++i) f(hn::CappedTag<float, 1>(), i);
}

float DotImpl(const float* a, const float* b, size_t count) {
  const D d;
  const size_t n = hn::Lanes(d);
  V s0 = hn::Zero(d), s1 = hn::Zero(d), s2 = hn::Zero(d), s3 = hn::Zero(d);
  size_t i = 0;
  for (; i + 4 * n <= count; i += 4 * n) {
    s0 = hn::MulAdd(hn::LoadU(d, a + i), hn::LoadU(d, b + i), s0);
    s1 = hn::MulAdd(hn::LoadU(d, a + i + n), hn::LoadU(d, b + i + n), s1);
    s2 = hn::MulAdd(hn::LoadU(d, a + i + 2 * n), hn::LoadU(d, b + i + 2 * n), s2);
    s3 = hn::MulAdd(hn::LoadU(d, a + i + 3 * n), hn::LoadU(d, b + i + 3 * n), s3);
  }
  for (; i + n <= count; i += n) s0 = hn::MulAdd(hn::LoadU(d, a + i), hn::LoadU(d, b + i), s0);
  float sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(s0, s1), hn::Add(s2, s3))));
  for (; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

void AddScaledImpl(const float* in, float scale, size_t count, float* out) {
  ForAll(count, [&](auto d, size_t i) {
    hn::StoreU(hn::MulAdd(hn::Set(d, scale), hn::LoadU(d, in + i), hn::LoadU(d, out + i)), d,
               out + i);
  });
}

void NormRowImpl(const NormArgs& a, const float* in, float* out) {
  for (size_t g = 0; g < a.features; g += a.group) {
    double mean = 0, square = 0;
    if (a.kind == NormKind::kLayer) {
      for (size_t j = 0; j < a.group; ++j) mean += in[g + j];
      mean /= static_cast<double>(a.group);
    }
    for (size_t j = 0; j < a.group; ++j) square += (in[g + j] - mean) * (in[g + j] - mean);
    const float m = static_cast<float>(mean);
    const float factor =
        1.0f / std::sqrt(static_cast<float>(square / static_cast<double>(a.group)) + a.epsilon);
    for (size_t j = 0; j < a.group; ++j) {
      const size_t w = (g + j) % a.weights;
      float y = (in[g + j] - m) * factor;
      if (a.weight != nullptr) y *= a.weight[w];
      if (a.bias != nullptr) y += a.bias[w];
      out[g + j] = a.add ? out[g + j] + y : y;
    }
  }
}

// act(x) with the result in the first lanes of a vector of any size.
template <Activation kActivation, class DD>
hn::Vec<DD> ActivateAny(DD dd, hn::Vec<DD> x) {
  if constexpr (std::is_same_v<DD, D>) {
    return Activate<kActivation>(dd, x);
  } else {
    const D d;
    return hn::Set(dd, hn::GetLane(Activate<kActivation>(d, hn::Set(d, hn::GetLane(x)))));
  }
}

template <Store kStore, Activation kActivation>
void StoreTyped(const float* acc, const float* bias, size_t rows, size_t lanes, float* out) {
  const auto one = [&](auto d, size_t i, auto b) {
    auto y = hn::Add(hn::LoadU(d, acc + i), b);
    if constexpr (kStore == Store::kAdd) y = hn::Add(y, hn::LoadU(d, out + i));
    if constexpr (kStore == Store::kActivate) y = ActivateAny<kActivation>(d, y);
    if constexpr (kStore == Store::kMultiplyAct)
      y = hn::Mul(y, ActivateAny<kActivation>(d, hn::LoadU(d, out + i)));
    hn::StoreU(y, d, out + i);
  };
  if (lanes == 1) {
    ForAll(rows, [&](auto d, size_t i) {
      one(d, i, bias == nullptr ? hn::Zero(d) : hn::LoadU(d, bias + i));
    });
    return;
  }
  const D d;
  for (size_t r = 0; r < rows; ++r) {
    const V b = hn::Set(d, bias == nullptr ? 0.0f : bias[r]);
    for (size_t lane = 0; lane < kPanel; lane += hn::Lanes(d)) one(d, r * kPanel + lane, b);
  }
}

template <Store kStore>
void StoreActivation(const float* acc, const float* bias, size_t rows, size_t lanes,
                     Activation activation, float* out) {
  switch (activation) {
    case Activation::kSilu:
      return StoreTyped<kStore, Activation::kSilu>(acc, bias, rows, lanes, out);
    case Activation::kGelu:
      return StoreTyped<kStore, Activation::kGelu>(acc, bias, rows, lanes, out);
    case Activation::kGeluTanh:
      return StoreTyped<kStore, Activation::kGeluTanh>(acc, bias, rows, lanes, out);
    case Activation::kRelu:
      return StoreTyped<kStore, Activation::kRelu>(acc, bias, rows, lanes, out);
    case Activation::kRelu2:
      return StoreTyped<kStore, Activation::kRelu2>(acc, bias, rows, lanes, out);
    case Activation::kSigmoid:
      return StoreTyped<kStore, Activation::kSigmoid>(acc, bias, rows, lanes, out);
  }
}

void StoreRowsImpl(const float* acc, const float* bias, size_t rows, size_t lanes, Store store,
                   Activation activation, float* out) {
  switch (store) {
    case Store::kSet:
      return StoreTyped<Store::kSet, Activation::kSilu>(acc, bias, rows, lanes, out);
    case Store::kAdd:
      return StoreTyped<Store::kAdd, Activation::kSilu>(acc, bias, rows, lanes, out);
    case Store::kActivate:
      return StoreActivation<Store::kActivate>(acc, bias, rows, lanes, activation, out);
    case Store::kMultiplyAct:
      return StoreActivation<Store::kMultiplyAct>(acc, bias, rows, lanes, activation, out);
  }
}

template <Activation kActivation>
void GateTyped(const float* z, size_t count, float* x) {
  ForAll(count, [&](auto d, size_t i) {
    hn::StoreU(hn::Mul(hn::LoadU(d, x + i), ActivateAny<kActivation>(d, hn::LoadU(d, z + i))), d,
               x + i);
  });
}

void MultiplyByImpl(const float* z, size_t count, float* x) {
  ForAll(count, [&](auto d, size_t i) {
    hn::StoreU(hn::Mul(hn::LoadU(d, x + i), hn::LoadU(d, z + i)), d, x + i);
  });
}

void GateImpl(Activation activation, const float* z, size_t count, float* x) {
  switch (activation) {
    case Activation::kSilu:
      return GateTyped<Activation::kSilu>(z, count, x);
    case Activation::kGelu:
      return GateTyped<Activation::kGelu>(z, count, x);
    case Activation::kGeluTanh:
      return GateTyped<Activation::kGeluTanh>(z, count, x);
    case Activation::kRelu:
      return GateTyped<Activation::kRelu>(z, count, x);
    case Activation::kRelu2:
      return GateTyped<Activation::kRelu2>(z, count, x);
    case Activation::kSigmoid:
      return GateTyped<Activation::kSigmoid>(z, count, x);
  }
}

void ClampedGateImpl(const float* up, size_t count, float* gate) {
  const D full;
  ForAll(count, [&](auto d, size_t i) {
    const auto g = AtMost(d, hn::LoadU(d, gate + i), 7.0f);
    const auto u = AtLeast(d, AtMost(d, hn::LoadU(d, up + i), 7.0f), -7.0f);
    auto s = hn::Mul(g, hn::Set(d, 1.702f));
    if constexpr (std::is_same_v<decltype(d), D>) {
      s = Sigmoid(d, s);
    } else {
      s = hn::Set(d, hn::GetLane(Sigmoid(full, hn::Set(full, hn::GetLane(s)))));
    }
    hn::StoreU(hn::Mul(hn::Add(u, hn::Set(d, 1.0f)), hn::Mul(g, s)), d, gate + i);
  });
}

void RotateHeadsImpl(float* x, size_t heads, size_t head_size, RopeStyle style, size_t pairs,
                     const float* cos, const float* sin, size_t lanes) {
  const size_t first_step = style == RopeStyle::kHalves ? 1 : 2;
  const size_t partner = style == RopeStyle::kHalves ? pairs : 1;
  for (size_t h = 0; h < heads; ++h) {
    float* head = x + h * head_size * lanes;
    for (size_t j = 0; j < pairs; ++j) {
      float* a = head + j * first_step * lanes;
      float* b = a + partner * lanes;
      ForAll(lanes, [&](auto d, size_t i) {
        const auto c = hn::LoadU(d, cos + j * lanes + i), s = hn::LoadU(d, sin + j * lanes + i);
        const auto va = hn::LoadU(d, a + i), vb = hn::LoadU(d, b + i);
        hn::StoreU(hn::Sub(hn::Mul(va, c), hn::Mul(vb, s)), d, a + i);
        hn::StoreU(hn::Add(hn::Mul(va, s), hn::Mul(vb, c)), d, b + i);
      });
    }
  }
}

void AddScaledPanelImpl(const float* in, const float* scale, size_t features, float* out) {
  const D d;
  for (size_t lane = 0; lane < kPanel; lane += hn::Lanes(d)) {
    const V s = hn::LoadU(d, scale + lane);
    for (size_t f = 0; f < features; ++f) {
      float* to = out + f * kPanel + lane;
      hn::Store(hn::MulAdd(s, hn::Load(d, in + f * kPanel + lane), hn::Load(d, to)), d, to);
    }
  }
}

void ScalePanelImpl(const float* factor, size_t features, float* x) {
  const D d;
  for (size_t lane = 0; lane < kPanel; lane += hn::Lanes(d)) {
    const V s = hn::Load(d, factor + lane);
    for (size_t f = 0; f < features; ++f)
      hn::Store(hn::Mul(s, hn::Load(d, x + f * kPanel + lane)), d, x + f * kPanel + lane);
  }
}

void SoftmaxBlockImpl(const SoftmaxArgs& a, size_t keys, float* scores, float* maximum, float* sum,
                      float* correction) {
  const D d;
  const size_t n = hn::Lanes(d);
  const int64_t first = static_cast<int64_t>(a.first_key) - static_cast<int64_t>(a.first_query);
  for (size_t lane = 0; lane < kPanel; lane += n) {
    const V scale = hn::Set(d, a.scale);
    const V lane_index = hn::Iota(d, static_cast<float>(lane));
    const V old_maximum = hn::Load(d, maximum + lane);
    V top = old_maximum;
    for (size_t k = 0; k < keys; ++k) {
      float* s = scores + k * kPanel + lane;
      V v = hn::Mul(hn::Load(d, s), scale);
      if (a.softcap > 0) v = SoftCap(d, v, a.softcap);
      // Visible: offset <= lane (not later than the query), offset > lane - window. Offsets outside
      // +-2^23 compare right too.
      const int64_t offset = first + static_cast<int64_t>(k);
      if (a.causal && offset > static_cast<int64_t>(lane))
        v = hn::IfThenElse(hn::Le(hn::Set(d, static_cast<float>(offset)), lane_index), v,
                           hn::Set(d, kMasked));
      if (a.window != 0 &&
          offset + static_cast<int64_t>(a.window) <= static_cast<int64_t>(lane + n - 1)) {
        const V end = hn::Set(d, static_cast<float>(offset + static_cast<int64_t>(a.window)));
        v = hn::IfThenElse(hn::Gt(end, lane_index), v, hn::Set(d, kMasked));
      }
      hn::Store(v, d, s);
      top = hn::Max(top, v);
    }
    V total = hn::Zero(d);
    for (size_t k = 0; k < keys; ++k) {
      float* s = scores + k * kPanel + lane;
      const V e = ExpOrNan(d, hn::Sub(hn::Load(d, s), top));
      hn::Store(e, d, s);
      total = hn::Add(total, e);
    }
    const V factor = ExpOrZero(d, hn::Sub(old_maximum, top));
    hn::Store(factor, d, correction + lane);
    hn::Store(hn::MulAdd(hn::Load(d, sum + lane), factor, total), d, sum + lane);
    hn::Store(top, d, maximum + lane);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace smelt::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace smelt::cpu {

HWY_EXPORT(NormPanelImpl);
HWY_EXPORT(NormRowImpl);
HWY_EXPORT(StoreRowsImpl);
HWY_EXPORT(GateImpl);
HWY_EXPORT(MultiplyByImpl);
HWY_EXPORT(ClampedGateImpl);
HWY_EXPORT(RotateHeadsImpl);
HWY_EXPORT(AddScaledPanelImpl);
HWY_EXPORT(ScalePanelImpl);
HWY_EXPORT(DotImpl);
HWY_EXPORT(AddScaledImpl);
HWY_EXPORT(SoftmaxBlockImpl);

void NormPanel(const NormArgs& args, const float* in, float* out) {
  HWY_DYNAMIC_DISPATCH(NormPanelImpl)(args, in, out);
}
void NormRow(const NormArgs& args, const float* in, float* out) {
  HWY_DYNAMIC_DISPATCH(NormRowImpl)(args, in, out);
}
void StoreRows(const float* acc, const float* bias, size_t rows, size_t lanes, Store store,
               Activation activation, float* out) {
  HWY_DYNAMIC_DISPATCH(StoreRowsImpl)(acc, bias, rows, lanes, store, activation, out);
}
void Gate(Activation activation, const float* z, size_t count, float* x) {
  HWY_DYNAMIC_DISPATCH(GateImpl)(activation, z, count, x);
}
void MultiplyBy(const float* z, size_t count, float* x) {
  HWY_DYNAMIC_DISPATCH(MultiplyByImpl)(z, count, x);
}
void ClampedGate(const float* up, size_t count, float* gate) {
  HWY_DYNAMIC_DISPATCH(ClampedGateImpl)(up, count, gate);
}
void RotateHeads(float* x, size_t heads, size_t head_size, RopeStyle style, size_t pairs,
                 const float* cos, const float* sin, size_t lanes) {
  HWY_DYNAMIC_DISPATCH(RotateHeadsImpl)(x, heads, head_size, style, pairs, cos, sin, lanes);
}
void AddScaledPanel(const float* in, const float* scale, size_t features, float* out) {
  HWY_DYNAMIC_DISPATCH(AddScaledPanelImpl)(in, scale, features, out);
}
void ScalePanel(const float* factor, size_t features, float* x) {
  HWY_DYNAMIC_DISPATCH(ScalePanelImpl)(factor, features, x);
}
float DotF32(const float* a, const float* b, size_t count) {
  return HWY_DYNAMIC_DISPATCH(DotImpl)(a, b, count);
}
void AddScaled(const float* in, float scale, size_t count, float* out) {
  HWY_DYNAMIC_DISPATCH(AddScaledImpl)(in, scale, count, out);
}
void SoftmaxBlock(const SoftmaxArgs& args, size_t keys, float* scores, float* maximum, float* sum,
                  float* correction) {
  HWY_DYNAMIC_DISPATCH(SoftmaxBlockImpl)(args, keys, scores, maximum, sum, correction);
}

}  // namespace smelt::cpu
#endif  // HWY_ONCE
