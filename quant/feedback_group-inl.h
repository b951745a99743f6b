// One group in all rows: what codes a scale makes when every error is carried on, what they cost,
// and the scale that would suit these codes best. Included once per instruction set.
#if defined(SMELT_QUANT_FEEDBACK_GROUP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SMELT_QUANT_FEEDBACK_GROUP_INL_H_
#undef SMELT_QUANT_FEEDBACK_GROUP_INL_H_
#else
#define SMELT_QUANT_FEEDBACK_GROUP_INL_H_
#endif

#include "hwy/highway.h"
#include "quant/codebook_codes-inl.h"
#include "quant/feedback_group.h"
#include "quant/search.h"

HWY_BEFORE_NAMESPACE();
namespace smelt {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// Scales that are evaluated together, which hides the latency of the additions.
constexpr int kTried = 4;

/// A group's columns, in the factor's order.
struct FeedbackGroup {
  const GroupFactor* factor;
  const uint32_t* columns;  ///< [size], where each stands in the row
  alignas(64) Row target[kMaxScaleGroup];
  alignas(64) Row sum[kMaxScaleGroup];  ///< t_k + sum over j < k of t_j A_jk
  alignas(64) Row sum_ones;             ///< weighted sum of those times `ones`
  // What was kept last:
  alignas(64) Row value[kMaxScaleGroup], code[kMaxScaleGroup];
  uint16_t entries[kFeedbackRows][kMaxScaleGroup / 4];  ///< by column within the group
  uint8_t turned[kFeedbackRows][kMaxScaleGroup / 8];
};

/// What codes cost, and the weighted sums that tell their best scale and minimum: with u_k what is
/// left of column k and s_k the sum above, p_k = s_k + minimum * ones_k - u_k is the part of the
/// scale times the codes.
struct Outcome {
  V cost, pp, ps, po;
};

/// Finds `sum` and `sum_ones`.
inline void SumTargets(FeedbackGroup& g) {
  const GroupFactor& f = *g.factor;
  for (size_t lane = 0; lane < kFeedbackRows; lane += hn::Lanes(D())) {
    V ones = Zero();
    for (uint32_t k = 0; k < f.size; ++k) {
      V s = Load(g.target[k] + lane);
      for (uint32_t j = 0; j < k; ++j)
        s = hn::Add(s, hn::Mul(Load(g.target[j] + lane), Set(f.a[k * f.size + j])));
      Store(s, g.sum[k] + lane);
      ones = hn::Add(ones, hn::Mul(Set(f.weights[k] * f.ones[k]), s));
    }
    Store(ones, g.sum_ones + lane);
  }
}

HWY_INLINE void AddColumn(const GroupFactor& f, uint32_t k, V s, V u, V minimum, Outcome& out) {
  const V weight = Set(f.weights[k]), one = Set(f.ones[k]);
  out.cost = hn::Add(out.cost, hn::Mul(weight, hn::Mul(u, u)));
  const V p = hn::Add(hn::Sub(s, u), hn::Mul(minimum, one));
  const V wp = hn::Mul(weight, p);
  out.pp = hn::Add(out.pp, hn::Mul(wp, p));
  out.ps = hn::Add(out.ps, hn::Mul(wp, s));
  out.po = hn::Add(out.po, hn::Mul(wp, one));
}

/// The outcome of values that are given.
inline Outcome OutcomeOf(const FeedbackGroup& g, const Row* values, V minimum, size_t lane) {
  const GroupFactor& f = *g.factor;
  Outcome out = {Zero(), Zero(), Zero(), Zero()};
  for (uint32_t k = 0; k < f.size; ++k) {
    V u = hn::Sub(Load(g.target[k] + lane), Load(values[k] + lane));
    for (uint32_t j = 0; j < k; ++j) {
      const V e = hn::Sub(Load(g.target[j] + lane), Load(values[j] + lane));
      u = hn::Add(u, hn::Mul(e, Set(f.a[k * f.size + j])));
    }
    AddColumn(f, k, Load(g.sum[k] + lane), u, minimum, out);
  }
  return out;
}

struct ScalePair {
  V scale, minimum;
};

HWY_INLINE V Inverse(V v) { return hn::IfThenElseZero(hn::Ne(v, Zero()), hn::Div(Set(1.0f), v)); }

/// Linear codes.
struct LinearCodes {
  V low, high;

  explicit LinearCodes(const BlockFormat& format)
      : low(Set(static_cast<float>(format.code_min))),
        high(Set(static_cast<float>(format.code_max))) {}
  HWY_INLINE V Code(V x, const ScalePair& s, V inverse) const {
    return hn::Min(hn::Max(hn::Round(hn::Mul(hn::Add(x, s.minimum), inverse)), low), high);
  }
};

/// Codes that take any of some levels.
struct LevelCodes {
  const CodebookFormat& format;

  explicit LevelCodes(const BlockFormat& block) : format(*block.codebook) {}
  HWY_INLINE V Code(V x, const ScalePair&, V inverse) const {
    const V u = hn::Mul(x, inverse);
    V q = Set(static_cast<float>(format.values[0]));
    for (int l = 1; l < format.levels; ++l) {
      const V middle = Set(0.5f * static_cast<float>(format.values[l - 1] + format.values[l]));
      q = hn::IfThenElse(hn::Gt(u, middle), Set(static_cast<float>(format.values[l])), q);
    }
    return q;
  }
};

/// Formats whose elements take their codes one by one.
template <class Codes>
class ElementRounding {
 public:
  /// Scales are cheap to try.
  static constexpr bool kThorough = true;

  explicit ElementRounding(const BlockFormat& format) : codes_(format) {}

  /// Rounds with `kCount` scales; keeps the result of the last where `kKeep`.
  template <int kCount, bool kKeep>
  HWY_INLINE void Evaluate(FeedbackGroup& g, size_t lane, const ScalePair* scales,
                           Outcome* out) const {
    const GroupFactor& f = *g.factor;
    V e[kMaxScaleGroup][kCount];
    V inverse[kCount];
    for (int c = 0; c < kCount; ++c) {
      inverse[c] = Inverse(scales[c].scale);
      out[c] = {Zero(), Zero(), Zero(), Zero()};
    }
    for (uint32_t k = 0; k < f.size; ++k) {
      const V target = Load(g.target[k] + lane), s = Load(g.sum[k] + lane);
      V x[kCount];
      for (int c = 0; c < kCount; ++c) x[c] = target;
      const float* const a = f.a.data() + k * f.size;
      for (uint32_t j = 0; j < k; ++j) {
        const V factor = Set(a[j]);
        for (int c = 0; c < kCount; ++c) x[c] = hn::Add(x[c], hn::Mul(e[j][c], factor));
      }
      for (int c = 0; c < kCount; ++c) {
        const V q = codes_.Code(x[c], scales[c], inverse[c]);
        const V v = hn::Sub(hn::Mul(scales[c].scale, q), scales[c].minimum);
        e[k][c] = hn::Sub(target, v);
        AddColumn(f, k, s, hn::Sub(x[c], v), scales[c].minimum, out[c]);
        if constexpr (kKeep) {
          Store(v, g.value[k] + lane);
          Store(q, g.code[k] + lane);
        }
      }
    }
  }

 private:
  Codes codes_;
};

/// Formats whose elements take their codes in granules: an octet at a time (or the group, where all
/// of it is shifted together), its elements chosen by what each weighs in the octet.
class GranuleRounding {
 public:
  static constexpr bool kThorough = false;

  explicit GranuleRounding(const BlockFormat& format) : format_(*format.codebook) {
    if (format_.shift != Shift::kPerGroup) format_.group = 8;
  }

  template <int kCount, bool kKeep>
  void Evaluate(FeedbackGroup& g, size_t lane, const ScalePair* scales, Outcome* out) const {
    for (int c = 0; c < kCount; ++c) EvaluateOne<kKeep>(g, lane, scales[c].scale, out[c]);
  }

 private:
  template <bool kKeep>
  HWY_NOINLINE void EvaluateOne(FeedbackGroup& g, size_t lane, V scale, Outcome& out) const {
    const GroupFactor& f = *g.factor;
    const uint32_t unit = format_.group;
    CodebookBatch b;
    V e[kMaxScaleGroup];
    out = {Zero(), Zero(), Zero(), Zero()};
    for (uint32_t first = 0; first < f.size; first += unit) {
      V x[kMaxScaleGroup];
      for (uint32_t k = 0; k < unit; ++k) {
        const float* const a = f.a.data() + (first + k) * f.size;
        const V target = Load(g.target[first + k] + lane);
        x[k] = target;
        for (uint32_t j = 0; j < first + k; ++j) x[k] = hn::Add(x[k], hn::Mul(e[j], Set(a[j])));
        e[first + k] = hn::Sub(target, x[k]);
        const uint32_t at = g.columns[first + k] % unit;
        Store(x[k], b.x[at] + lane);
        Store(Set(WeightInUnit(f, first, k)), b.w[at] + lane);
      }
      Store(scale, b.scale + lane);
      Quantize(format_, b, lane);
      for (uint32_t k = 0; k < unit; ++k) {
        const V q = Load(b.q[g.columns[first + k] % unit] + lane), v = hn::Mul(scale, q);
        V u = hn::Sub(x[k], v);
        for (uint32_t j = 0; j < k; ++j) {
          const V error =
              hn::Sub(x[j], hn::Mul(scale, Load(b.q[g.columns[first + j] % unit] + lane)));
          u = hn::Add(u, hn::Mul(error, Set(f.a[(first + k) * f.size + first + j])));
        }
        AddColumn(f, first + k, Load(g.sum[first + k] + lane), u, Zero(), out);
        if constexpr (kKeep) {
          Store(v, g.value[first + k] + lane);
          Store(q, g.code[first + k] + lane);
        }
      }
      for (uint32_t k = 0; k < unit; ++k) {
        const V v = hn::Mul(scale, Load(b.q[g.columns[first + k] % unit] + lane));
        e[first + k] = hn::Sub(Load(g.target[first + k] + lane), v);
      }
      if constexpr (kKeep) KeepEntries(g, g.columns[first] % f.size / unit, lane, b);
    }
  }

  /// The column's square in the part of the error that the unit makes.
  float WeightInUnit(const GroupFactor& f, uint32_t first, uint32_t k) const {
    float weight = f.weights[first + k];
    for (uint32_t i = first + k + 1; i < first + format_.group; ++i) {
      const float a = f.a[i * f.size + first + k];
      weight += f.weights[i] * (a * a);
    }
    return weight;
  }

  /// `number`: which unit of the group it is. Signs are those of the codes.
  void KeepEntries(FeedbackGroup& g, uint32_t number, size_t lane, const CodebookBatch& b) const {
    const uint32_t granules = format_.group / format_.granule, octets = format_.group / 8;
    for (size_t row = lane; row < lane + hn::Lanes(D()); ++row) {
      std::copy_n(b.entries[row], granules, g.entries[row] + number * granules);
      for (uint32_t o = 0; o < octets; ++o) {
        uint32_t bits = b.turned[row][o];
        for (uint32_t k = 0; format_.shift == Shift::kNone && k < 8; ++k)
          bits ^= static_cast<uint32_t>(std::signbit(b.x[8 * o + k][row])) << k;
        g.turned[row][number * octets + o] = static_cast<uint8_t>(bits);
      }
    }
  }

  CodebookFormat format_;
};

}  // namespace HWY_NAMESPACE
}  // namespace smelt
HWY_AFTER_NAMESPACE();

#endif  // SMELT_QUANT_FEEDBACK_GROUP_INL_H_
