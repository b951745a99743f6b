// Vectorised functions shared by the kernels. Included once per SIMD target.
#if defined(SMELT_INFER_CPU_VECTOR_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SMELT_INFER_CPU_VECTOR_MATH_INL_H_
#undef SMELT_INFER_CPU_VECTOR_MATH_INL_H_
#else
#define SMELT_INFER_CPU_VECTOR_MATH_INL_H_
#endif

#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"
#include "infer/cpu/layout.h"
#include "lib/model/layer_spec.h"

HWY_BEFORE_NAMESPACE();
namespace smelt::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Fixed-size vectors: a panel of 32 lanes is a whole number of them on every target.
using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;

// The smaller and the larger of a vector and a number; NaN stays NaN, unlike in hn::Min and hn::Max
// on most targets.
template <class DD>
inline hn::Vec<DD> AtMost(DD d, hn::Vec<DD> x, float limit) {
  return hn::IfThenElse(hn::Gt(x, hn::Set(d, limit)), hn::Set(d, limit), x);
}
template <class DD>
inline hn::Vec<DD> AtLeast(DD d, hn::Vec<DD> x, float limit) {
  return hn::IfThenElse(hn::Lt(x, hn::Set(d, limit)), hn::Set(d, limit), x);
}

// Highway's functions convert to integers, which C++ leaves undefined for a NaN where it is done
// without vector registers.
inline V Convertible(V x) {
#if HWY_TARGET == HWY_EMU128 || HWY_TARGET == HWY_SCALAR
  return hn::IfThenZeroElse(hn::IsNaN(x), x);
#else
  return x;
#endif
}

// Highway's exponential, of NaN 0 on every target.
inline V ExpOrZero(D d, V x) {
#if HWY_TARGET == HWY_EMU128 || HWY_TARGET == HWY_SCALAR
  return hn::IfThenZeroElse(hn::IsNaN(x), hn::Exp(d, Convertible(x)));
#else
  return hn::Exp(d, x);
#endif
}

inline V Sigmoid(D d, V x) {
  const V one = hn::Set(d, 1.0f);
  return hn::Div(one, hn::Add(one, ExpOrZero(d, hn::Min(hn::Neg(x), hn::Set(d, 88.0f)))));
}

// The normal distribution function by erfc(z) = t(a1 + t(a2 + ...)) exp(-z^2), t = 1/(1 + pz):
// Abramowitz and Stegun 7.1.26, absolute error below 1.5e-7.
inline V NormalCdf(D d, V x) {
  const V z = hn::Mul(hn::Abs(x), hn::Set(d, 0.70710678118654752f));
  const V one = hn::Set(d, 1.0f);
  const V t = hn::Div(one, hn::MulAdd(hn::Set(d, 0.3275911f), z, one));
  V p = hn::Set(d, 1.061405429f);
  p = hn::MulAdd(p, t, hn::Set(d, -1.453152027f));
  p = hn::MulAdd(p, t, hn::Set(d, 1.421413741f));
  p = hn::MulAdd(p, t, hn::Set(d, -0.284496736f));
  p = hn::MulAdd(p, t, hn::Set(d, 0.254829592f));
  const V tail =
      hn::Mul(hn::Mul(hn::Mul(p, t), hn::Set(d, 0.5f)), ExpOrZero(d, hn::Neg(hn::Mul(z, z))));
  return hn::IfThenElse(hn::Lt(x, hn::Zero(d)), tail, hn::Sub(one, tail));
}

template <Activation kActivation>
inline V Activate(D d, V x) {
  if constexpr (kActivation == Activation::kSilu) {
    return hn::Mul(x, Sigmoid(d, x));
  } else if constexpr (kActivation == Activation::kSigmoid) {
    return Sigmoid(d, x);
  } else if constexpr (kActivation == Activation::kGelu) {
    return hn::Mul(x, NormalCdf(d, x));
  } else if constexpr (kActivation == Activation::kGeluTanh) {
    // 0.5 x (1 + tanh u) = x sigmoid(2 u), u = sqrt(2/pi) (x + 0.044715 x^3)
    const V inner = hn::MulAdd(hn::Mul(hn::Set(d, 0.044715f), hn::Mul(x, x)), x, x);
    return hn::Mul(x, Sigmoid(d, hn::Mul(hn::Set(d, 1.5957691216057308f), inner)));
  } else {
    const V positive = AtLeast(d, x, 0.0f);
    return kActivation == Activation::kRelu ? positive : hn::Mul(positive, positive);
  }
}

// ln(1 + e^x), also where e^x overflows or vanishes: max(x, 0) + log1p(e^-|x|).
inline V Softplus(D d, V x) {
  return hn::Add(AtLeast(d, x, 0.0f), hn::Log1p(d, ExpOrZero(d, hn::Neg(hn::Abs(x)))));
}

// exp(x - from) where both are sums of two floats: the large parts cancel first.
inline V ExpDifference(D d, V high, V low, float from_high, float from_low) {
  return ExpOrZero(
      d, hn::Add(hn::Sub(high, hn::Set(d, from_high)), hn::Sub(low, hn::Set(d, from_low))));
}

// What decay leaves of a chunk's tokens, L[t] (the logarithm, a sum of two floats) at hand: at
// token t of what was there before the chunk, exp(L[t]); at the chunk's end of what token t gave,
// exp(L[last] - L[t]).
inline V Carried(D d, V high, V low) { return ExpDifference(d, high, low, 0, 0); }
inline V Left(D d, V high, V low, float last_high, float last_low) {
  return ExpOrZero(
      d, hn::Sub(hn::Sub(hn::Set(d, last_high), high), hn::Sub(low, hn::Set(d, last_low))));
}

// A score that is no number must not become one that counts nothing.
inline V ExpOrNan(D d, V x) { return hn::IfThenElse(hn::IsNaN(x), x, ExpOrZero(d, x)); }

inline V SoftCap(D d, V x, float cap) {
  const V scaled = hn::Mul(x, hn::Set(d, 1.0f / cap));
  return hn::Mul(hn::Set(d, cap),
                 hn::IfThenElse(hn::IsNaN(x), x, hn::Tanh(d, Convertible(scaled))));
}

}  // namespace HWY_NAMESPACE
}  // namespace smelt::cpu
HWY_AFTER_NAMESPACE();

#endif
