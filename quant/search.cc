// The search with one group in one SIMD lane: every lane runs the sequence of search_reference.cc.
#include "quant/search.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "lib/base/float16.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/search.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#ifndef SMELT_QUANT_SEARCH_BATCH
#define SMELT_QUANT_SEARCH_BATCH
namespace smelt {

/// Groups that are encoded together: the lanes of the widest vector. Two super-blocks of eight
/// groups, one of sixteen, or sixteen simple blocks.
inline constexpr size_t kBatchGroups = 16;

/// Values of a batch, element by element: x[j][g] is element j of group g. The arrays of one row
/// hold one number per group.
struct SearchBatch {
  using Row = float[kBatchGroups];
  alignas(64) Row x[32], w[32];
  alignas(64) Row scale, minimum;              ///< what each group wishes
  alignas(64) Row super_scale, super_minimum;  ///< of the group's super-block
  alignas(64) Row inverse_scale, inverse_minimum;
  alignas(64) Row integer_scale, integer_minimum;  ///< chosen
  alignas(64) Row d, m, inverse;                   ///< stored scale and minimum, for the codes
  alignas(64) Row error;
  alignas(64) Row qq, q, xq, sum_x, sum_w;
};

}  // namespace smelt
#endif  // SMELT_QUANT_SEARCH_BATCH

HWY_BEFORE_NAMESPACE();
namespace smelt {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, kBatchGroups>;
using V = hn::Vec<D>;
using M = hn::Mask<D>;
using Row = SearchBatch::Row;

HWY_INLINE V Set(float v) { return hn::Set(D(), v); }
HWY_INLINE V Zero() { return hn::Zero(D()); }
HWY_INLINE V Load(const float* p) { return hn::Load(D(), p); }
HWY_INLINE void Store(V v, float* p) { hn::Store(v, D(), p); }
HWY_INLINE V Clamp(V v, V low, V high) { return hn::Min(hn::Max(v, low), high); }

/// The weighted value; without weights they are all 1.
template <bool kWeighted>
HWY_INLINE V Weigh(const float* w, V v) {
  if constexpr (kWeighted) return hn::Mul(Load(w), v);
  return v;
}

/// Candidates whose sums are gathered together, which hides the latency of the additions.
constexpr int kTogether = 4;

/// Scale of codes around zero for the lanes from `lane` on.
template <bool kWeighted>
HWY_INLINE void FitSymmetric(const BlockFormat& f, const SearchDepth& depth, SearchBatch& b,
                             size_t lane) {
  const uint32_t group = f.group;
  V largest = Zero();
  for (uint32_t j = 0; j < group; ++j) {
    const V x = Load(b.x[j] + lane);
    largest = hn::IfThenElse(hn::Gt(hn::Abs(x), hn::Abs(largest)), x, largest);
  }
  const M enough = hn::Gt(hn::Abs(largest), Set(kTiny));
  Store(Zero(), b.minimum + lane);
  if (!f.searched) {
    const V scale = hn::Div(hn::Abs(largest), Set(static_cast<float>(f.code_max)));
    Store(hn::IfThenElseZero(enough, scale), b.scale + lane);
    return;
  }
  const V inverse = hn::Div(Set(1.0f), largest);
  alignas(64) Row y[32];
  for (uint32_t j = 0; j < group; ++j) Store(hn::Mul(Load(b.x[j] + lane), inverse), y[j]);

  const V low = Set(static_cast<float>(f.code_min)), high = Set(static_cast<float>(f.code_max));
  V best_xq = Zero(), best_qq = Set(1.0f);
  auto attempt = [&](const auto& factors, auto count) HWY_ATTR {
    constexpr int kCount = decltype(count)::value;
    V xq[kCount], qq[kCount];
    for (int c = 0; c < kCount; ++c) xq[c] = qq[c] = Zero();
    for (uint32_t j = 0; j < group; ++j) {
      const V yj = Load(y[j]);
      for (int c = 0; c < kCount; ++c) {
        const V q = Clamp(hn::Round(hn::Mul(yj, factors[c])), low, high);
        const V wq = Weigh<kWeighted>(b.w[j] + lane, q);
        xq[c] = hn::Add(xq[c], hn::Mul(wq, yj));
        qq[c] = hn::Add(qq[c], hn::Mul(wq, q));
      }
    }
    for (int c = 0; c < kCount; ++c) {
      const V ours = hn::Mul(hn::Mul(xq[c], xq[c]), best_qq);
      const V best = hn::Mul(hn::Mul(best_xq, best_xq), qq[c]);
      const M better = hn::Gt(ours, best);
      best_xq = hn::IfThenElse(better, xq[c], best_xq);
      best_qq = hn::IfThenElse(better, qq[c], best_qq);
    }
  };
  for (int c = 0; c < kCandidates; c += kTogether) {
    V factors[kTogether];
    for (int i = 0; i < kTogether; ++i) {
      factors[i] = Set(static_cast<float>(f.code_min) - kCandidateOffsets[c + i]);
    }
    attempt(factors, std::integral_constant<int, kTogether>());
  }
  const M found = hn::Ne(best_xq, Zero());
  for (int i = 0; i < depth.refinements; ++i) {
    // A factor of zero keeps lanes without a candidate from winning with an infinite scale.
    const V again[1] = {hn::IfThenElseZero(found, hn::Div(best_qq, best_xq))};
    attempt(again, std::integral_constant<int, 1>());
  }
  const V scale = hn::Mul(largest, hn::Div(best_xq, best_qq));
  Store(hn::IfThenElseZero(enough, scale), b.scale + lane);
}

/// A group's values y in units of its own range, from zero to one, and where they came from:
/// x = low + range y.
struct Ranged {
  V low, range;
  V bound;         ///< of the minimum, in the same units
  V sum_w, sum_y;  ///< weighted
};

/// Fills `y` for the lanes from `lane` on.
template <bool kWeighted>
HWY_INLINE Ranged TakeRange(const BlockFormat& f, const SearchBatch& b, size_t lane, Row* y) {
  V low = Load(b.x[0] + lane), high = low;
  for (uint32_t j = 1; j < f.group; ++j) {
    const V x = Load(b.x[j] + lane);
    low = hn::Min(low, x);
    high = hn::Max(high, x);
  }
  if (f.super_block()) low = hn::Min(low, Zero());
  const V range = hn::Sub(high, low);
  const V inverse = hn::Div(Set(1.0f), range);
  const V bound = f.super_block() ? hn::Mul(hn::Neg(low), inverse) : Set(kHuge);
  V sum_w = Zero(), sum_y = Zero();
  for (uint32_t j = 0; j < f.group; ++j) {
    const V yj = hn::Mul(hn::Sub(Load(b.x[j] + lane), low), inverse);
    Store(yj, y[j]);
    sum_w = hn::Add(sum_w, Weigh<kWeighted>(b.w[j] + lane, Set(1.0f)));
    sum_y = hn::Add(sum_y, Weigh<kWeighted>(b.w[j] + lane, yj));
  }
  return {low, range, bound, sum_w, sum_y};
}

/// y ~ d q + m: the best d and m, and their weighted squared error less what all have in common.
struct Line {
  V d, m, error;
};

/// For codes q with the weighted sums `q1` of q, `qq` of q q, `yq` of y q. Where the codes hardly
/// differ, the minimum is `given`.
HWY_INLINE Line FitLine(const Ranged& r, V q1, V qq, V yq, V given) {
  const V two = Set(2.0f);
  const V wqq = hn::Mul(r.sum_w, qq);
  const V determinant = hn::Sub(wqq, hn::Mul(q1, q1));
  // With the minimum given.
  V m = given;
  V d = hn::Div(hn::Sub(yq, hn::Mul(m, q1)), qq);
  // With both free.
  const V free_d = hn::Div(hn::Sub(hn::Mul(r.sum_w, yq), hn::Mul(q1, r.sum_y)), determinant);
  const V free_m = hn::Div(hn::Sub(hn::Mul(qq, r.sum_y), hn::Mul(q1, yq)), determinant);
  // With the minimum at its bound.
  const V bound_d = hn::Div(hn::Sub(yq, hn::Mul(r.bound, q1)), qq);
  const M regular = hn::Gt(determinant, hn::Mul(Set(kSingular), wqq));
  const M beyond = hn::Gt(free_m, r.bound);
  d = hn::IfThenElse(regular, hn::IfThenElse(beyond, bound_d, free_d), d);
  m = hn::IfThenElse(regular, hn::IfThenElse(beyond, r.bound, free_m), m);
  const V by_d = hn::Add(hn::Sub(hn::Mul(d, qq), hn::Mul(two, yq)), hn::Mul(two, hn::Mul(m, q1)));
  const V by_m = hn::Sub(hn::Mul(m, r.sum_w), hn::Mul(two, r.sum_y));
  return {d, m, hn::Add(hn::Mul(d, by_d), hn::Mul(m, by_m))};
}

/// Scale and minimum of codes from zero on for the lanes from `lane` on.
template <bool kWeighted>
HWY_INLINE void FitWithMinimum(const BlockFormat& f, const SearchDepth& depth, SearchBatch& b,
                               size_t lane) {
  alignas(64) Row y[32];
  const Ranged ranged = TakeRange<kWeighted>(f, b, lane, y);
  const V high = Set(static_cast<float>(f.code_max));
  Line best = {Zero(), Zero(), Set(kHuge)};
  auto attempt = [&](const auto& factors, V offset, auto count) HWY_ATTR {
    constexpr int kCount = decltype(count)::value;
    V q1[kCount], qq[kCount], yq[kCount];
    for (int c = 0; c < kCount; ++c) q1[c] = qq[c] = yq[c] = Zero();
    for (uint32_t j = 0; j < f.group; ++j) {
      const V yj = Load(y[j]);
      const V shifted = hn::Sub(yj, offset);
      for (int c = 0; c < kCount; ++c) {
        const V q = Clamp(hn::Round(hn::Mul(shifted, factors[c])), Zero(), high);
        const V wq = Weigh<kWeighted>(b.w[j] + lane, q);
        q1[c] = hn::Add(q1[c], wq);
        qq[c] = hn::Add(qq[c], hn::Mul(wq, q));
        yq[c] = hn::Add(yq[c], hn::Mul(wq, yj));
      }
    }
    for (int c = 0; c < kCount; ++c) {
      const Line line = FitLine(ranged, q1[c], qq[c], yq[c], offset);
      const M better = hn::And(hn::Lt(line.error, best.error), hn::Gt(qq[c], Zero()));
      best.error = hn::IfThenElse(better, line.error, best.error);
      best.d = hn::IfThenElse(better, line.d, best.d);
      best.m = hn::IfThenElse(better, line.m, best.m);
    }
  };
  for (int c = 0; c < kCandidates; c += kTogether) {
    V factors[kTogether];
    for (int i = 0; i < kTogether; ++i) {
      factors[i] = Set(static_cast<float>(f.code_max) + kCandidateOffsets[c + i]);
    }
    attempt(factors, Zero(), std::integral_constant<int, kTogether>());
  }
  for (int i = 0; i < depth.refinements; ++i) {
    // A factor of zero gives codes of zero, which never win.
    const M found = hn::Gt(best.d, Zero());
    const V again[1] = {hn::IfThenElseZero(found, hn::Div(Set(1.0f), best.d))};
    attempt(again, best.m, std::integral_constant<int, 1>());
  }
  const V low = ranged.low, range = ranged.range;
  const V scale = hn::Mul(range, best.d);
  const V minimum = hn::Neg(hn::Add(low, hn::Mul(range, best.m)));
  const M enough = hn::Gt(range, Set(kTiny)), beyond_all = hn::Gt(range, Set(kBeyondAll));
  Store(hn::IfThenElse(beyond_all, Set(kBeyondAll), hn::IfThenElseZero(enough, scale)),
        b.scale + lane);
  Store(hn::IfThenZeroElse(beyond_all, hn::IfThenElse(enough, minimum, hn::Neg(low))),
        b.minimum + lane);
}

struct GroupScale {
  V d, m, inverse;
};

HWY_INLINE GroupScale MakeGroupScale(V d, V m) {
  const V infinity = Set(INFINITY);
  const M finite = hn::And(hn::Lt(hn::Abs(d), infinity), hn::Lt(hn::Abs(m), infinity));
  const M some = hn::And(finite, hn::Ne(d, Zero()));
  return {hn::IfThenElseZero(finite, d), hn::IfThenElseZero(finite, m),
          hn::IfThenElseZero(some, hn::Div(Set(1.0f), d))};
}

HWY_INLINE GroupScale ScaleOf(const SearchBatch& b, V s, V k, size_t lane) {
  return MakeGroupScale(hn::Mul(Load(b.super_scale + lane), s),
                        hn::Mul(Load(b.super_minimum + lane), k));
}

/// Codes by the given scales: error, and the sum of the codes.
template <bool kWeighted, int kCount>
HWY_INLINE void GroupErrors(const BlockFormat& f, const SearchBatch& b, size_t lane,
                            const GroupScale (&scales)[kCount], V (&errors)[kCount],
                            V (&sums)[kCount]) {
  const V low = Set(static_cast<float>(f.code_min)), high = Set(static_cast<float>(f.code_max));
  for (int c = 0; c < kCount; ++c) errors[c] = sums[c] = Zero();
  for (uint32_t j = 0; j < f.group; ++j) {
    const V x = Load(b.x[j] + lane);
    for (int c = 0; c < kCount; ++c) {
      const V shifted = hn::Add(x, scales[c].m);
      const V q = Clamp(hn::Round(hn::Mul(shifted, scales[c].inverse)), low, high);
      const V e = hn::Sub(shifted, hn::Mul(scales[c].d, q));
      errors[c] = hn::Add(errors[c], Weigh<kWeighted>(b.w[j] + lane, hn::Mul(e, e)));
      sums[c] = hn::Add(sums[c], Weigh<kWeighted>(b.w[j] + lane, q));
    }
  }
}

/// Integer scale and minimum of each group, and its error with them.
template <bool kWeighted>
HWY_INLINE void ChooseIntegers(const BlockFormat& f, SearchBatch& b, size_t lane) {
  V sum_w = Zero(), sum_x = Zero();
  for (uint32_t j = 0; j < f.group; ++j) {
    sum_w = hn::Add(sum_w, Weigh<kWeighted>(b.w[j] + lane, Set(1.0f)));
    sum_x = hn::Add(sum_x, Weigh<kWeighted>(b.w[j] + lane, Load(b.x[j] + lane)));
  }
  const V low = Set(static_cast<float>(f.scale_min)), high = Set(static_cast<float>(f.scale_max));
  const V inverse_m = Load(b.inverse_minimum + lane);
  const V s0 =
      Clamp(hn::Round(hn::Mul(Load(b.scale + lane), Load(b.inverse_scale + lane))), low, high);
  const V k0 = Clamp(hn::Round(hn::Mul(Load(b.minimum + lane), inverse_m)), Zero(), high);

  constexpr int kSteps = 3;
  V s[kSteps], k[kSteps], errors[kSteps], sums[kSteps], refit_errors[kSteps];
  for (int c = 0; c < kSteps; ++c) k[c] = refit_errors[c] = Zero();
  GroupScale scales[kSteps];
  for (int c = 0; c < kSteps; ++c) {
    s[c] = Clamp(hn::Add(s0, Set(static_cast<float>(c - 1))), low, high);
    scales[c] = ScaleOf(b, s[c], k0, lane);
  }
  GroupErrors<kWeighted>(f, b, lane, scales, errors, sums);
  if (f.minimum) {
    for (int c = 0; c < kSteps; ++c) {
      const V wish = hn::Div(hn::Sub(hn::Mul(scales[c].d, sums[c]), sum_x), sum_w);
      k[c] = Clamp(hn::Round(hn::Mul(wish, inverse_m)), Zero(), high);
      scales[c] = ScaleOf(b, s[c], k[c], lane);
    }
    GroupErrors<kWeighted>(f, b, lane, scales, refit_errors, sums);
  }
  V best_s = s0, best_k = k0, best_error = Set(INFINITY);
  auto consider = [&](V si, V ki, V e) HWY_ATTR {
    const M better = hn::Lt(e, best_error);
    best_error = hn::IfThenElse(better, e, best_error);
    best_s = hn::IfThenElse(better, si, best_s);
    best_k = hn::IfThenElse(better, ki, best_k);
  };
  for (int c = 0; c < kSteps; ++c) {
    consider(s[c], k0, errors[c]);
    if (f.minimum) consider(s[c], k[c], refit_errors[c]);
  }
  Store(best_s, b.integer_scale + lane);
  Store(best_k, b.integer_minimum + lane);
  Store(best_error, b.error + lane);
}

template <bool kWeighted>
HWY_INLINE void SumGroups(const BlockFormat& f, SearchBatch& b, size_t lane) {
  const GroupScale scale =
      ScaleOf(b, Load(b.integer_scale + lane), Load(b.integer_minimum + lane), lane);
  const V low = Set(static_cast<float>(f.code_min)), high = Set(static_cast<float>(f.code_max));
  V qq = Zero(), q1 = Zero(), xq = Zero(), sum_x = Zero(), sum_w = Zero();
  for (uint32_t j = 0; j < f.group; ++j) {
    const V x = Load(b.x[j] + lane);
    const V q = Clamp(hn::Round(hn::Mul(hn::Add(x, scale.m), scale.inverse)), low, high);
    const V wq = Weigh<kWeighted>(b.w[j] + lane, q);
    qq = hn::Add(qq, hn::Mul(wq, q));
    q1 = hn::Add(q1, wq);
    xq = hn::Add(xq, hn::Mul(wq, x));
    sum_x = hn::Add(sum_x, Weigh<kWeighted>(b.w[j] + lane, x));
    sum_w = hn::Add(sum_w, Weigh<kWeighted>(b.w[j] + lane, Set(1.0f)));
  }
  Store(qq, b.qq + lane);
  Store(q1, b.q + lane);
  Store(xq, b.xq + lane);
  Store(sum_x, b.sum_x + lane);
  Store(sum_w, b.sum_w + lane);
}

/// The error of every group with the super-scales in `b` and the integers chosen.
template <bool kWeighted>
HWY_INLINE void ErrorsOfChosen(const BlockFormat& f, SearchBatch& b, size_t lane) {
  const GroupScale scales[1] = {
      ScaleOf(b, Load(b.integer_scale + lane), Load(b.integer_minimum + lane), lane)};
  V errors[1], sums[1];
  GroupErrors<kWeighted>(f, b, lane, scales, errors, sums);
  Store(errors[0], b.error + lane);
}

/// Codes of one group whose values stand one after the other.
HWY_INLINE void StoreCodes(const BlockFormat& f, const float* x, float d_m, float inverse,
                           int8_t* codes) {
  const D d;
  const hn::Rebind<int32_t, D> di;
  const hn::Rebind<int8_t, D> d8;
  const V low = Set(static_cast<float>(f.code_min)), high = Set(static_cast<float>(f.code_max));
  const V m = Set(d_m), factor = Set(inverse);
  for (uint32_t j = 0; j < f.group; j += hn::Lanes(d)) {
    const V q = Clamp(hn::Round(hn::Mul(hn::Add(hn::LoadU(d, x + j), m), factor)), low, high);
    hn::StoreU(hn::DemoteTo(d8, hn::ConvertTo(di, q)), d8, codes + j);
  }
}

/// Group `first_group + g` of the batch gets the values of its super-scale.
void SetSuperScale(SearchBatch& b, uint32_t first_group, uint32_t groups, const SuperScale& super) {
  for (uint32_t g = first_group; g < first_group + groups; ++g) {
    b.super_scale[g] = super.scale;
    b.super_minimum[g] = super.minimum;
    b.inverse_scale[g] = super.inverse_scale;
    b.inverse_minimum[g] = super.inverse_minimum;
  }
}

float SumErrors(const SearchBatch& b, uint32_t first_group, uint32_t groups) {
  float sum = 0;
  for (uint32_t g = first_group; g < first_group + groups; ++g) sum += b.error[g];
  return sum;
}

/// The super-scale of a block of the batch, its groups' integers under it and their error.
struct BlockIntegers {
  SuperScale super;
  std::array<int8_t, kMaxBlockGroups> scales{}, minimums{};
  float error = 0;
  bool open = true;  ///< another round may help
};

/// One round: integers under each block's super-scale, and the super-scale that fits them.
template <bool kWeighted>
void ChooseBlocks(const BlockFormat& f, int round, SearchBatch& b, BlockIntegers* best) {
  const size_t lanes = hn::Lanes(D());
  const uint32_t groups = f.groups(), blocks = kBatchGroups / groups;
  for (uint32_t i = 0; i < blocks; ++i) SetSuperScale(b, i * groups, groups, best[i].super);
  for (size_t lane = 0; lane < kBatchGroups; lane += lanes) {
    ChooseIntegers<kWeighted>(f, b, lane);
    SumGroups<kWeighted>(f, b, lane);
  }
  SuperScale fitted[kBatchGroups / 8];
  for (uint32_t i = 0; i < blocks; ++i) {
    const uint32_t first = i * groups;
    const float error = SumErrors(b, first, groups);
    best[i].open = best[i].open && (round == 0 || error < best[i].error);
    if (!best[i].open) continue;
    best[i].error = error;
    GroupSums sums[kMaxBlockGroups];
    for (uint32_t g = 0; g < groups; ++g) {
      best[i].scales[g] = static_cast<int8_t>(b.integer_scale[first + g]);
      best[i].minimums[g] = static_cast<int8_t>(b.integer_minimum[first + g]);
      sums[g] = {b.qq[first + g], b.q[first + g], b.xq[first + g], b.sum_x[first + g],
                 b.sum_w[first + g]};
    }
    best[i].open =
        FitSuperScale(f, sums, best[i].scales.data(), best[i].minimums.data(), &fitted[i]);
    if (best[i].open) SetSuperScale(b, first, groups, fitted[i]);
  }
  for (size_t lane = 0; lane < kBatchGroups; lane += lanes) ErrorsOfChosen<kWeighted>(f, b, lane);
  for (uint32_t i = 0; i < blocks; ++i) {
    const float error = SumErrors(b, i * groups, groups);
    best[i].open = best[i].open && error < best[i].error;
    if (!best[i].open) continue;
    best[i].error = error;
    best[i].super = fitted[i];
  }
}

template <bool kWeighted>
void EncodeSuperBlocks(const BlockFormat& f, const SearchDepth& depth, SearchBatch& b,
                       BlockNumbers* numbers) {
  const uint32_t groups = f.groups(), blocks = kBatchGroups / groups;
  BlockIntegers best[kBatchGroups / 8];
  for (uint32_t i = 0; i < blocks; ++i)
    best[i].super = FirstSuperScale(f, b.scale + i * groups, b.minimum + i * groups);
  auto open = [&] {
    return std::any_of(best, best + blocks, [](const BlockIntegers& i) { return i.open; });
  };
  for (int round = 0; round < depth.rounds && open(); ++round)
    ChooseBlocks<kWeighted>(f, round, b, best);
  for (uint32_t i = 0; i < blocks; ++i) {
    numbers[i].d = best[i].super.d;
    numbers[i].m = best[i].super.m;
    numbers[i].scales = best[i].scales;
    numbers[i].minimums = best[i].minimums;
    SetSuperScale(b, i * groups, groups, best[i].super);
    for (uint32_t g = 0; g < groups; ++g) {
      b.integer_scale[i * groups + g] = best[i].scales[g];
      b.integer_minimum[i * groups + g] = best[i].minimums[g];
    }
  }
  for (size_t lane = 0; lane < kBatchGroups; lane += hn::Lanes(D())) {
    const GroupScale scale =
        ScaleOf(b, Load(b.integer_scale + lane), Load(b.integer_minimum + lane), lane);
    Store(scale.m, b.m + lane);
    Store(scale.inverse, b.inverse + lane);
  }
}

void ScaleSimpleBlocks(const BlockFormat& f, SearchBatch& b, BlockNumbers* numbers) {
  for (size_t g = 0; g < kBatchGroups; ++g) {
    const SuperScale scale = SimpleScale(f, b.scale[g], b.minimum[g]);
    numbers[g].d = scale.d;
    numbers[g].m = F32ToF16(0.0f - b.minimum[g]);  // no negative zero
    b.super_scale[g] = scale.scale;
    b.super_minimum[g] = scale.minimum;
  }
  for (size_t lane = 0; lane < kBatchGroups; lane += hn::Lanes(D())) {
    const GroupScale scale = ScaleOf(b, Set(1.0f), Set(1.0f), lane);
    Store(scale.m, b.m + lane);
    Store(scale.inverse, b.inverse + lane);
  }
}

/// Groups from rows to columns; groups that do not exist are zeros of weight 1.
void FillBatch(const BlockFormat& f, const float* x, const float* w, uint64_t columns,
               uint64_t first, size_t groups, SearchBatch& b) {
  for (size_t g = 0; g < kBatchGroups; ++g) {
    const float* values = x + first + g * f.group;
    for (uint32_t j = 0; j < f.group; ++j) b.x[j][g] = g < groups ? values[j] : 0.0f;
    if (w == nullptr) continue;
    const float* weights = w + (first + g * f.group) % columns;
    for (uint32_t j = 0; j < f.group; ++j) b.w[j][g] = g < groups ? weights[j] : 1.0f;
  }
}

template <bool kWeighted>
void EncodeBatches(const BlockFormat& f, const SearchDepth& depth, const float* x, const float* w,
                   uint64_t columns, uint64_t blocks, uint8_t* out) {
  SearchBatch batch;
  BlockNumbers numbers[kBatchGroups];
  const uint32_t groups = f.groups();
  const uint64_t batch_blocks = kBatchGroups / groups;
  for (uint64_t block = 0; block < blocks; block += batch_blocks) {
    const uint64_t n = std::min(batch_blocks, blocks - block);
    const uint64_t first = block * f.elements;
    FillBatch(f, x, w, columns, first, n * groups, batch);
    for (size_t lane = 0; lane < kBatchGroups; lane += hn::Lanes(D())) {
      if (f.minimum) {
        FitWithMinimum<kWeighted>(f, depth, batch, lane);
      } else {
        FitSymmetric<kWeighted>(f, depth, batch, lane);
      }
    }
    if (f.super_block()) {
      EncodeSuperBlocks<kWeighted>(f, depth, batch, numbers);
    } else {
      ScaleSimpleBlocks(f, batch, numbers);
    }
    for (uint64_t i = 0; i < n; ++i) {
      for (uint32_t g = 0; g < groups; ++g) {
        StoreCodes(f, x + first + i * f.elements + g * f.group, batch.m[i * groups + g],
                   batch.inverse[i * groups + g], numbers[i].codes.data() + g * f.group);
      }
      f.pack(numbers[i], out + (block + i) * f.bytes);
    }
  }
}

void EncodeBlocks(const BlockFormat& f, const SearchDepth& depth, const float* x, const float* w,
                  uint64_t columns, uint64_t blocks, uint8_t* out) {
  if (w == nullptr) {
    EncodeBatches<false>(f, depth, x, w, columns, blocks, out);
  } else {
    EncodeBatches<true>(f, depth, x, w, columns, blocks, out);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace smelt
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace smelt {

HWY_EXPORT(EncodeBlocks);

void EncodeBlocks(const BlockFormat& format, const SearchDepth& depth, const float* x,
                  const float* w, uint64_t columns, uint64_t blocks, uint8_t* out) {
  HWY_DYNAMIC_DISPATCH(EncodeBlocks)(format, depth, x, w, columns, blocks, out);
}

}  // namespace smelt
#endif  // HWY_ONCE
