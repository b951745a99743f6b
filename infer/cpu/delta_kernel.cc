#include "infer/cpu/delta_kernel.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "infer/cpu/delta_kernel.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "infer/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace smelt::cpu {
namespace HWY_NAMESPACE {

void ToLengthImpl(size_t features, float epsilon, float scale, float* x) {
  const D d;
  for (size_t lane = 0; lane < kPanel; lane += hn::Lanes(d)) {
    V square = hn::Zero(d);
    for (size_t f = 0; f < features; ++f) {
      const V value = hn::Load(d, x + f * kPanel + lane);
      square = hn::MulAdd(value, value, square);
    }
    const V factor = hn::Div(hn::Set(d, scale), hn::Sqrt(hn::Add(square, hn::Set(d, epsilon))));
    for (size_t f = 0; f < features; ++f) {
      float* value = x + f * kPanel + lane;
      hn::Store(hn::Mul(hn::Load(d, value), factor), d, value);
    }
  }
}

// row[t] = products[t] exp(G[t] - G[s]) of the lanes that `first` and later ones share a vector
// with.
void DecayedRow(const DeltaGates& g, size_t s, size_t first, const float* products, float* row) {
  const D d;
  const size_t n = hn::Lanes(d);
  for (size_t lane = 0; lane < kPanel; lane += n) {
    if (lane + n <= first) continue;
    const V decay = ExpDifference(d, hn::Load(d, g.high + lane), hn::Load(d, g.low + lane),
                                  g.high[s], g.low[s]);
    hn::Store(hn::Mul(hn::Load(d, products + lane), decay), d, row + lane);
  }
}

// Row s of the inverse by the rows after it: U[s] = e[s] - sum over r > s of A[r][s] U[r].
void SolveRow(size_t s, size_t tokens, const float* a, float* solve) {
  const D d;
  const size_t n = hn::Lanes(d);
  for (size_t lane = 0; lane < kPanel; lane += n) {
    float* to = solve + s * kPanel + lane;
    V sum = hn::Zero(d);
    const size_t end = std::min(tokens, lane + n);  // U[r][t] is 0 for t < r
    for (size_t r = s + 1; r < end; ++r)
      sum = hn::NegMulAdd(hn::Set(d, a[r]), hn::Load(d, solve + r * kPanel + lane), sum);
    hn::Store(sum, d, to);
  }
  solve[s * kPanel + s] += 1;
}

void MakeDeltaWeightsImpl(const DeltaGates& g, const float* kk, const float* kq, DeltaWeights& w) {
  const D d;
  const size_t n = hn::Lanes(d), last = g.tokens - 1;
  for (size_t lane = 0; lane < kPanel; lane += n) {
    const V high = hn::Load(d, g.high + lane), low = hn::Load(d, g.low + lane);
    hn::Store(Sigmoid(d, hn::Load(d, g.beta + lane)), d, w.beta + lane);
    hn::Store(Carried(d, high, low), d, w.carried + lane);
    hn::Store(Left(d, high, low, g.high[last], g.low[last]), d, w.left + lane);
  }
  alignas(64) float a[kPanel];
  for (size_t s = g.tokens; s-- > 0;) {
    DecayedRow(g, s, s + 1, kk + s * kPanel, a);
    for (size_t r = s + 1; r < g.tokens; ++r) a[r] *= w.beta[r];
    SolveRow(s, g.tokens, a, w.solve);
    float* read = w.read + s * kPanel;
    DecayedRow(g, s, s, kq + s * kPanel, read);
    std::fill_n(read, s, 0.0f);
  }
}

void DeltaResidueImpl(const DeltaWeights& w, const float* v, size_t features, float* x) {
  const D d;
  for (size_t lane = 0; lane < kPanel; lane += hn::Lanes(d)) {
    const V beta = hn::Load(d, w.beta + lane), carried = hn::Load(d, w.carried + lane);
    for (size_t f = 0; f < features; ++f) {
      float* to = x + f * kPanel + lane;
      const V rest = hn::NegMulAdd(carried, hn::Load(d, to), hn::Load(d, v + f * kPanel + lane));
      hn::Store(hn::Mul(beta, rest), d, to);
    }
  }
}

void RunDeltaImpl(const DeltaHead& s) {
  const D d;
  const size_t n = hn::Lanes(d);
  for (size_t t = 0; t < s.tokens; ++t) {
    const float* q = s.q + t * s.qk_stride;
    const float* k = s.k + t * s.qk_stride;
    const V decay = hn::Set(d, s.decay[t]);
    for (size_t v = 0; v < s.value_size; ++v) {
      V known = hn::Zero(d);
      for (size_t block = 0; block < s.blocks; ++block) {
        const float* row = s.state + (block * s.value_size + v) * kPanel;
        for (size_t j = 0; j < kPanel; j += n)
          known = hn::MulAdd(hn::Load(d, row + j), hn::Load(d, k + block * kPanel + j), known);
      }
      const float predicted = s.decay[t] * hn::GetLane(hn::SumOfLanes(d, known));
      const V delta = hn::Set(d, s.beta[t] * (s.v[t * s.v_stride + v] - predicted));
      V sum = hn::Zero(d);
      for (size_t block = 0; block < s.blocks; ++block) {
        float* row = s.state + (block * s.value_size + v) * kPanel;
        for (size_t j = 0; j < kPanel; j += n) {
          const size_t at = block * kPanel + j;
          const V next =
              hn::MulAdd(decay, hn::Load(d, row + j), hn::Mul(delta, hn::Load(d, k + at)));
          hn::Store(next, d, row + j);
          sum = hn::MulAdd(next, hn::Load(d, q + at), sum);
        }
      }
      s.out[t * s.out_stride + v] = hn::GetLane(hn::SumOfLanes(d, sum));
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace smelt::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace smelt::cpu {

HWY_EXPORT(ToLengthImpl);
HWY_EXPORT(MakeDeltaWeightsImpl);
HWY_EXPORT(DeltaResidueImpl);
HWY_EXPORT(RunDeltaImpl);

void ToLength(size_t features, float epsilon, float scale, float* x) {
  HWY_DYNAMIC_DISPATCH(ToLengthImpl)(features, epsilon, scale, x);
}
void MakeDeltaWeights(const DeltaGates& gates, const float* kk, const float* kq,
                      DeltaWeights& weights) {
  HWY_DYNAMIC_DISPATCH(MakeDeltaWeightsImpl)(gates, kk, kq, weights);
}
void DeltaResidue(const DeltaWeights& weights, const float* v, size_t features, float* x) {
  HWY_DYNAMIC_DISPATCH(DeltaResidueImpl)(weights, v, features, x);
}
void RunDelta(const DeltaHead& head) { HWY_DYNAMIC_DISPATCH(RunDeltaImpl)(head); }

}  // namespace smelt::cpu
#endif  // HWY_ONCE
