// The scale (and minimum) of a group: what it wishes, and which stored one it gets. Included once
// per instruction set.
#if defined(SMELT_QUANT_FEEDBACK_FIT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SMELT_QUANT_FEEDBACK_FIT_INL_H_
#undef SMELT_QUANT_FEEDBACK_FIT_INL_H_
#else
#define SMELT_QUANT_FEEDBACK_FIT_INL_H_
#endif

#include <algorithm>
#include <cmath>

#include "hwy/highway.h"
#include "quant/feedback_group-inl.h"
#include "quant/feedback_group.h"
#include "quant/search.h"

HWY_BEFORE_NAMESPACE();
namespace smelt {
namespace HWY_NAMESPACE {

/// What a group wishes in each row.
struct Wish {
  alignas(64) Row scale, minimum;
  alignas(64) Row curvature;  ///< what a deviation of the scale costs
};

/// Scale and minimum that suit the codes of an outcome best. `scale` cannot change its sign where
/// that would be no wish that can be stored.
inline ScalePair BestOf(const StoredRule& rule, const FeedbackGroup& g, const Outcome& o,
                        const ScalePair& now, size_t lane) {
  const V usable = hn::IfThenElseZero(hn::Gt(o.pp, Zero()), Set(1.0f));
  const auto some = hn::Gt(usable, Zero());
  const V divisor = hn::IfThenElse(some, o.pp, Set(1.0f));
  if (!rule.has_minimum) {
    const V ratio = hn::Div(o.ps, divisor);
    return {
        hn::IfThenElse(hn::And(some, hn::Gt(ratio, Zero())), hn::Mul(now.scale, ratio), now.scale),
        Zero()};
  }
  // (ratio, minimum) of the least sum of weights (s - ratio p + minimum ones)^2.
  const V oo = Set(g.factor->constant), so = Load(g.sum_ones + lane);
  const V determinant = hn::Sub(hn::Mul(o.pp, oo), hn::Mul(o.po, o.po));
  const auto solvable = hn::Gt(determinant, hn::Mul(Set(kSingular), hn::Mul(o.pp, oo)));
  const V both = hn::Div(hn::Sub(hn::Mul(o.ps, oo), hn::Mul(so, o.po)),
                         hn::IfThenElse(solvable, determinant, Set(1.0f)));
  V minimum = hn::IfThenElse(solvable, hn::Div(hn::Sub(hn::Mul(both, o.po), so), oo), now.minimum);
  V ratio =
      hn::IfThenElse(solvable, both, hn::Div(hn::Add(o.ps, hn::Mul(now.minimum, o.po)), divisor));
  if (rule.super_block()) {
    const auto below = hn::Lt(minimum, Zero());
    minimum = hn::IfThenElse(below, Zero(), minimum);
    ratio = hn::IfThenElse(below, hn::Div(o.ps, divisor), ratio);
  }
  const auto taken = hn::And(some, hn::Gt(ratio, Zero()));
  return {hn::IfThenElse(taken, hn::Mul(now.scale, ratio), now.scale),
          hn::IfThenElse(taken, minimum, now.minimum)};
}

/// The minimum that suits an outcome's codes best under the scale as it is.
inline V BestMinimum(const StoredRule& rule, const FeedbackGroup& g, const Outcome& o,
                     size_t lane) {
  const V m = hn::Div(hn::Sub(o.po, Load(g.sum_ones + lane)), Set(g.factor->constant));
  return rule.super_block() ? hn::Max(m, Zero()) : m;
}

/// The scales to start from: `out` has room for kMaxStarts.
constexpr int kMaxStarts = 32;
inline int FindStarts(const BlockFormat& format, const FeedbackGroup& g, size_t lane,
                      ScalePair* out) {
  V largest = Zero(), low = Zero(), high = Zero();
  low = high = Load(g.target[0] + lane);
  for (uint32_t k = 0; k < g.factor->size; ++k) {
    const V t = Load(g.target[k] + lane);
    largest = hn::IfThenElse(hn::Gt(hn::Abs(t), hn::Abs(largest)), t, largest);
    low = hn::Min(low, t);
    high = hn::Max(high, t);
  }
  int count = 0;
  if (const CodebookFormat* c = format.codebook) {
    const int end = std::max(std::abs(c->values[0]), std::abs(c->values[c->levels - 1]));
    const float unit = 1.0f / static_cast<float>(c->shift == Shift::kNone ? end : 8 * end);
    const V size = c->both_signs ? largest : hn::Abs(largest);
    for (int sign = 1; sign >= (c->both_signs ? -1 : 1); sign -= 2) {
      float factor = c->lowest * unit * static_cast<float>(sign);
      for (int i = 0; i < c->candidates; ++i, factor *= c->step)
        out[count++] = {hn::Mul(size, Set(factor)), Zero()};
    }
  } else if (!format.searched) {
    const float factor = 1.0f / static_cast<float>(format.code_max);
    out[count++] = {hn::Mul(hn::Abs(largest), Set(factor)), Zero()};
  } else if (format.minimum) {
    if (format.super_block()) low = hn::Min(low, Zero());
    for (const float offset : kCandidateOffsets) {
      const float factor = 1.0f / (static_cast<float>(format.code_max) + offset);
      out[count++] = {hn::Mul(hn::Sub(high, low), Set(factor)), hn::Neg(low)};
    }
  } else {
    for (const float offset : kCandidateOffsets) {
      const float factor = 1.0f / (static_cast<float>(format.code_min) - offset);
      out[count++] = {hn::Mul(largest, Set(factor)), Zero()};
    }
  }
  return count;
}

/// What the group wishes if any scale could be stored: every start is refined where scales are
/// cheap to try, else the best of them.
template <class Rounding>
void FitFreely(const BlockFormat& format, const StoredRule& rule, const Rounding& rounding,
               FeedbackGroup& g, Wish& wish) {
  constexpr int kRefinements = 2;
  const int together = Rounding::kThorough && format.searched ? kRefinements : 0;
  const int alone = Rounding::kThorough ? 0 : kRefinements;
  for (size_t lane = 0; lane < kFeedbackRows; lane += hn::Lanes(D())) {
    ScalePair starts[kMaxStarts + kTried];
    const int count = FindStarts(format, g, lane, starts);
    for (int i = count; i < count + kTried; ++i) starts[i] = starts[count - 1];
    V least = Set(INFINITY), curvature = Zero();
    ScalePair best = {Zero(), Zero()}, next = best;
    auto consider = [&](ScalePair& tried, const Outcome& outcome) HWY_ATTR {
      const ScalePair refined = BestOf(rule, g, outcome, tried, lane);
      const auto better = hn::Lt(outcome.cost, least);
      least = hn::IfThenElse(better, outcome.cost, least);
      best.scale = hn::IfThenElse(better, tried.scale, best.scale);
      best.minimum = hn::IfThenElse(better, tried.minimum, best.minimum);
      next.scale = hn::IfThenElse(better, refined.scale, next.scale);
      next.minimum = hn::IfThenElse(better, refined.minimum, next.minimum);
      curvature = hn::IfThenElse(better, outcome.pp, curvature);
      tried = refined;
    };
    for (int first = 0; first < count; first += kTried) {
      ScalePair tried[kTried];
      std::copy_n(starts + first, kTried, tried);
      for (int refinement = 0; refinement <= together; ++refinement) {
        Outcome outcome[kTried];
        rounding.template Evaluate<kTried, false>(g, lane, tried, outcome);
        for (int c = 0; c < kTried; ++c) consider(tried[c], outcome[c]);
      }
    }
    for (int refinement = 0; refinement < alone; ++refinement) {
      ScalePair tried = next;
      Outcome outcome;
      rounding.template Evaluate<1, false>(g, lane, &tried, &outcome);
      consider(tried, outcome);
    }
    const V inverse = Inverse(best.scale);
    Store(best.scale, wish.scale + lane);
    Store(best.minimum, wish.minimum + lane);
    Store(hn::Mul(curvature, hn::Mul(inverse, inverse)), wish.curvature + lane);
  }
}

/// The best stored scales so far.
struct Settled {
  GroupScales scales;
  alignas(64) Row cost;

  Settled() { std::fill_n(cost, kFeedbackRows, INFINITY); }

  /// Starts from what a group has; `wish` is what suits its codes best.
  void Begin(const StoredRule& rule, const FeedbackGroup& g, const Row* values,
             const GroupScales& now, Wish& wish) {
    scales = now;
    for (size_t lane = 0; lane < kFeedbackRows; lane += hn::Lanes(D())) {
      const ScalePair pair = {Load(now.scale + lane), Load(now.minimum + lane)};
      const Outcome outcome = OutcomeOf(g, values, pair.minimum, lane);
      const ScalePair best = BestOf(rule, g, outcome, pair, lane);
      Store(outcome.cost, cost + lane);
      Store(best.scale, wish.scale + lane);
      Store(best.minimum, wish.minimum + lane);
    }
  }

  /// Takes a trial in the rows where it costs less.
  void Consider(const GroupScales& trial, const Row& its_cost) {
    for (size_t r = 0; r < kFeedbackRows; ++r) {
      if (!(its_cost[r] < cost[r])) continue;
      cost[r] = its_cost[r];
      scales.Take(trial, r);
    }
  }
};

/// Tries stored scales and, where there are minimums, the one that suits each best.
template <class Rounding>
void Try(const StoredRule& rule, const Rounding& rounding, FeedbackGroup& g, GroupScales* trials,
         const float* unit, const BlockHalves& halves, Settled& settled) {
  for (int round = 0; round < (rule.has_minimum ? 2 : 1); ++round) {
    alignas(64) Row costs[kTried], minimums[kTried];
    for (size_t lane = 0; lane < kFeedbackRows; lane += hn::Lanes(D())) {
      ScalePair tried[kTried];
      Outcome outcome[kTried];
      for (int c = 0; c < kTried; ++c)
        tried[c] = {Load(trials[c].scale + lane), Load(trials[c].minimum + lane)};
      rounding.template Evaluate<kTried, false>(g, lane, tried, outcome);
      for (int c = 0; c < kTried; ++c) {
        Store(outcome[c].cost, costs[c] + lane);
        if (rule.has_minimum) Store(BestMinimum(rule, g, outcome[c], lane), minimums[c] + lane);
      }
    }
    for (int c = 0; c < kTried; ++c) {
      settled.Consider(trials[c], costs[c]);
      if (rule.has_minimum) trials[c] = rule.Store(trials[c].scale, minimums[c], unit, halves, 0);
    }
  }
}

/// The stored scale near a wish that costs least.
template <class Rounding>
void Settle(const StoredRule& rule, const Rounding& rounding, FeedbackGroup& g, const Wish& wish,
            const float* unit, const BlockHalves& halves, Settled& settled) {
  constexpr int kSteps[kTried] = {0, -1, 1, 2};
  GroupScales trials[kTried];
  for (int c = 0; c < kTried; ++c)
    trials[c] = rule.Store(wish.scale, wish.minimum, unit, halves, kSteps[c]);
  Try(rule, rounding, g, trials, unit, halves, settled);
}

}  // namespace HWY_NAMESPACE
}  // namespace smelt
HWY_AFTER_NAMESPACE();

#endif  // SMELT_QUANT_FEEDBACK_FIT_INL_H_
