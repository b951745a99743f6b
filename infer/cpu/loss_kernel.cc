#include "infer/cpu/loss_kernel.h"

#include <algorithm>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "infer/cpu/loss_kernel.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "infer/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace smelt::cpu {
namespace HWY_NAMESPACE {

using DI = hn::RebindToSigned<D>;
#if HWY_TARGET == HWY_SCALAR
using DH = D;  // one lane: there is no upper half
#else
using DH = hn::Half<D>;
#endif
using DD = hn::Rebind<double, DH>;
constexpr size_t HalfOf(size_t lanes) { return lanes == 1 ? 0 : lanes / 2; }

void FinishLogitsImpl(float* logits, size_t rows, const float* bias, float scale, float cap) {
  const D d;
  for (size_t r = 0; r < rows; ++r) {
    const V b = hn::Set(d, bias == nullptr ? 0.0f : bias[r]);
    for (size_t lane = 0; lane < kPanel; lane += hn::Lanes(d)) {
      V v = hn::Mul(hn::Add(hn::Load(d, logits + r * kPanel + lane), b), hn::Set(d, scale));
      if (cap > 0) v = SoftCap(d, v, cap);
      hn::Store(v, d, logits + r * kPanel + lane);
    }
  }
}

// New maximum of one vector of lanes; returns the old one.
V RaiseTop(D d, const float* logits, size_t rows, int32_t first_id, size_t lane, SideStats& s) {
  const DI di;
  const V old = hn::Load(d, s.top + lane);
  V top = old, bad = hn::Load(d, s.not_finite + lane);
  auto best = hn::Load(di, s.best + lane);
  for (size_t r = 0; r < rows; ++r) {
    const V v = hn::Load(d, logits + r * kPanel + lane);
    const auto higher = hn::Gt(v, top);
    top = hn::IfThenElse(higher, v, top);
    best = hn::IfThenElse(hn::RebindMask(di, higher),
                          hn::Set(di, first_id + static_cast<int32_t>(r)), best);
    bad = hn::MulAdd(v, hn::Zero(d), bad);
  }
  hn::Store(top, d, s.top + lane);
  hn::Store(best, di, s.best + lane);
  hn::Store(bad, d, s.not_finite + lane);
  return old;
}

// sum *= exp(old - new), in double.
void Rescale(D d, V old, const float* top, double* sum) {
  alignas(64) float before[16];
  hn::Store(old, d, before);
  for (size_t i = 0; i < hn::Lanes(d); ++i) {
    if (before[i] != top[i])
      sum[i] *= std::exp(static_cast<double>(before[i]) - static_cast<double>(top[i]));
  }
}

void AddDouble(V v, hn::Vec<DD>& low, hn::Vec<DD>& high) {
  const DD dd;
#if HWY_TARGET == HWY_SCALAR
  low = high =
      hn::Add(low, hn::PromoteTo(dd, v));  // both are the same number, stored twice in one place
#else
  const DH dh;
  low = hn::Add(low, hn::PromoteTo(dd, hn::LowerHalf(dh, v)));
  high = hn::Add(high, hn::PromoteTo(dd, hn::UpperHalf(dh, v)));
#endif
}

void UpdateStatsImpl(const float* model, const float* reference, size_t rows, int32_t first_id,
                     PanelStats& stats) {
  const D d;
  const DD dd;
  const size_t n = hn::Lanes(d), half = HalfOf(n);
  for (size_t lane = 0; lane < kPanel; lane += n) {
    Rescale(d, RaiseTop(d, model, rows, first_id, lane, stats.model), stats.model.top + lane,
            stats.model.sum + lane);
    const V top = hn::Load(d, stats.model.top + lane);
    auto low = hn::Load(dd, stats.model.sum + lane),
         high = hn::Load(dd, stats.model.sum + lane + half);
    for (size_t r = 0; r < rows; ++r)
      AddDouble(ExpOrZero(d, hn::Sub(hn::Load(d, model + r * kPanel + lane), top)), low, high);
    hn::Store(low, dd, stats.model.sum + lane);
    hn::Store(high, dd, stats.model.sum + lane + half);
    if (reference == nullptr) continue;

    const V old = RaiseTop(d, reference, rows, first_id, lane, stats.reference);
    Rescale(d, old, stats.reference.top + lane, stats.reference.sum + lane);
    Rescale(d, old, stats.reference.top + lane, stats.gap + lane);
    const V reference_top = hn::Load(d, stats.reference.top + lane);
    low = hn::Load(dd, stats.reference.sum + lane),
    high = hn::Load(dd, stats.reference.sum + lane + half);
    auto gap_low = hn::Load(dd, stats.gap + lane), gap_high = hn::Load(dd, stats.gap + lane + half);
    for (size_t r = 0; r < rows; ++r) {
      const V a = hn::Load(d, reference + r * kPanel + lane);
      const V e = ExpOrZero(d, hn::Sub(a, reference_top));
      AddDouble(e, low, high);
      AddDouble(hn::Mul(e, hn::Sub(a, hn::Load(d, model + r * kPanel + lane))), gap_low, gap_high);
    }
    hn::Store(low, dd, stats.reference.sum + lane);
    hn::Store(high, dd, stats.reference.sum + lane + half);
    hn::Store(gap_low, dd, stats.gap + lane);
    hn::Store(gap_high, dd, stats.gap + lane + half);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace smelt::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace smelt::cpu {

HWY_EXPORT(FinishLogitsImpl);
HWY_EXPORT(UpdateStatsImpl);

namespace {

// Below any logit; finite, so that differences are numbers.
constexpr float kLowest = -3.0e38f;

// Scales a later part's sums and ours to a common maximum.
void MergeSide(const SideStats& more, size_t lane, SideStats& stats, double* gap, double more_gap) {
  const double ours = stats.top[lane], theirs = more.top[lane], top = std::max(ours, theirs);
  const double keep = std::exp(ours - top), take = std::exp(theirs - top);
  stats.sum[lane] = stats.sum[lane] * keep + more.sum[lane] * take;
  if (gap != nullptr) *gap = *gap * keep + more_gap * take;
  if (theirs > ours) {
    stats.top[lane] = more.top[lane];
    stats.best[lane] = more.best[lane];
  }
  stats.not_finite[lane] += more.not_finite[lane];
}

}  // namespace

void ClearStats(PanelStats& stats) {
  stats = PanelStats{};
  std::fill_n(stats.model.top, kPanel, kLowest);
  std::fill_n(stats.reference.top, kPanel, kLowest);
}

void FinishLogits(float* logits, size_t rows, const float* bias, float scale, float cap) {
  HWY_DYNAMIC_DISPATCH(FinishLogitsImpl)(logits, rows, bias, scale, cap);
}

void UpdateStats(const float* model, const float* reference, size_t rows, int32_t first_id,
                 PanelStats& stats) {
  HWY_DYNAMIC_DISPATCH(UpdateStatsImpl)(model, reference, rows, first_id, stats);
}

void MergeStats(const PanelStats& more, bool with_reference, PanelStats& stats) {
  for (size_t lane = 0; lane < kPanel; ++lane) {
    MergeSide(more.model, lane, stats.model, nullptr, 0);
    if (with_reference)
      MergeSide(more.reference, lane, stats.reference, &stats.gap[lane], more.gap[lane]);
  }
}

}  // namespace smelt::cpu
#endif  // HWY_ONCE
