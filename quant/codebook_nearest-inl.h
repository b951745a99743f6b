// The entries of a codebook that are nearest to granules of values, one group in one lane.
// Included once per instruction set.
#if defined(SMELT_QUANT_CODEBOOK_NEAREST_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SMELT_QUANT_CODEBOOK_NEAREST_INL_H_
#undef SMELT_QUANT_CODEBOOK_NEAREST_INL_H_
#else
#define SMELT_QUANT_CODEBOOK_NEAREST_INL_H_
#endif

#include <bit>
#include <cstdint>

#include "hwy/highway.h"
#include "quant/codebook_batch.h"
#include "quant/codebook_format.h"

HWY_BEFORE_NAMESPACE();
namespace smelt {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, kCodebookGroups>;
using V = hn::Vec<D>;
using Row = CodebookBatch::Row;

HWY_INLINE V Set(float v) { return hn::Set(D(), v); }
HWY_INLINE V Zero() { return hn::Zero(D()); }
HWY_INLINE V Load(const float* p) { return hn::Load(D(), p); }
HWY_INLINE void Store(V v, float* p) { hn::Store(v, D(), p); }

constexpr int Power(int base, int exponent) {
  return exponent == 0 ? 1 : base * Power(base, exponent - 1);
}

/// What every possible half of a granule costs, lane by lane.
template <int kLevels, int kHalf>
struct HalfCosts {
  static constexpr int kCount = Power(kLevels, kHalf);
  alignas(64) Row cost[kCount];
  alignas(64) Row flipped[kCount];       ///< with the cheapest sign turned
  alignas(64) Row flip[kHalf][kLevels];  ///< what turning the sign of an element adds
};

template <int kLevels, int kHalf, bool kFlip>
HWY_INLINE void MakeCosts(const V* x, const V* w, const V* points, HalfCosts<kLevels, kHalf>& h) {
  V cost[kHalf][kLevels], flip[kHalf][kLevels];
  for (int k = 0; k < kHalf; ++k) {
    for (int l = 0; l < kLevels; ++l) {
      const V e = hn::Sub(x[k], points[l]);
      cost[k][l] = hn::Mul(w[k], hn::Mul(e, e));
      if constexpr (kFlip) {
        flip[k][l] = hn::Mul(Set(4.0f), hn::Mul(w[k], hn::Mul(x[k], points[l])));
        Store(flip[k][l], h.flip[k][l]);
      }
    }
  }
  auto store = [&](int i, V c, V f) HWY_ATTR {
    Store(c, h.cost[i]);
    if constexpr (kFlip) Store(hn::Add(c, f), h.flipped[i]);
  };
  constexpr int kPair = kLevels * kLevels;
  V low[kPair], low_flip[kPair];
  for (int i = 0; i < kPair; ++i) {
    low[i] = hn::Add(cost[0][i % kLevels], cost[1][i / kLevels]);
    low_flip[i] = Zero();
    if constexpr (kFlip) low_flip[i] = hn::Min(flip[0][i % kLevels], flip[1][i / kLevels]);
    if constexpr (kHalf == 2) store(i, low[i], low_flip[i]);
  }
  if constexpr (kHalf == 4) {
    for (int j = 0; j < kPair; ++j) {
      const V high = hn::Add(cost[2][j % kLevels], cost[3][j / kLevels]);
      V high_flip = Zero();
      if constexpr (kFlip) high_flip = hn::Min(flip[2][j % kLevels], flip[3][j / kLevels]);
      for (int i = 0; i < kPair; ++i)
        store(j * kPair + i, hn::Add(low[i], high), hn::Min(low_flip[i], high_flip));
    }
  }
}

/// The least of the costs of a list's second halves. Two at a time hide the latency.
HWY_INLINE V LeastOf(const Row* costs, const uint8_t* second, const GranuleIndex::List& list) {
  V even = Load(costs[second[list.begin]]), odd = even;
  uint32_t i = list.begin + 1u;
  for (; i + 1 < list.end; i += 2) {
    even = hn::Min(even, Load(costs[second[i]]));
    odd = hn::Min(odd, Load(costs[second[i + 1]]));
  }
  if (i < list.end) even = hn::Min(even, Load(costs[second[i]]));
  return hn::Min(even, odd);
}

/// The cheapest entry: its cost, and the list where it stands.
struct Nearest {
  V cost;
  hn::Vec<hn::Rebind<int32_t, D>> list;
};

/// The cheapest entries without and (kFlip) with one sign turned.
template <int kLevels, int kHalf, bool kFlip>
HWY_INLINE void FindNearest(const GranuleIndex& index, const HalfCosts<kLevels, kHalf>& a,
                            const HalfCosts<kLevels, kHalf>& b, Nearest* plain, Nearest* turned) {
  const hn::Rebind<int32_t, D> di;
  const V infinity = Set(INFINITY);
  *plain = {infinity, hn::Zero(di)};
  *turned = *plain;
  const uint8_t* second = index.second.data();
  int32_t number = 0;
  for (const GranuleIndex::List& list : index.lists) {
    const V least = LeastOf(b.cost, second, list);
    V least_flipped = infinity;
    if constexpr (kFlip) least_flipped = LeastOf(b.flipped, second, list);
    const auto here = hn::Set(di, number++);
    auto consider = [&](V cost, Nearest* best) HWY_ATTR {
      const auto better = hn::Lt(cost, best->cost);
      best->cost = hn::IfThenElse(better, cost, best->cost);
      best->list = hn::IfThenElse(hn::RebindMask(di, better), here, best->list);
    };
    const V cost = Load(a.cost[list.first]);
    consider(hn::Add(cost, least), plain);
    if constexpr (kFlip) {
      consider(hn::Min(hn::Add(Load(a.flipped[list.first]), least), hn::Add(cost, least_flipped)),
               turned);
    }
  }
}

/// An entry of the codebook, and which of its elements has its sign turned (-1: none).
struct Choice {
  uint16_t entry = 0;
  int turned = -1;
};

/// Bits of a number that is not negative, in its order: what is smaller cannot be foreseen, and
/// integers are chosen without a branch.
inline uint32_t OrderedBits(float v) { return std::bit_cast<uint32_t>(v); }

/// First of the list's entries whose second half costs least.
inline uint32_t Cheapest(const GranuleIndex& index, const GranuleIndex::List& list,
                         const Row* costs, size_t lane) {
  const uint8_t* second = index.second.data();
  uint32_t best = list.begin, least = OrderedBits(costs[second[best]][lane]);
  for (uint32_t i = list.begin + 1u; i < list.end; ++i) {
    const uint32_t cost = OrderedBits(costs[second[i]][lane]);
    best = cost < least ? i : best;
    least = std::min(least, cost);
  }
  return best;
}

/// The element of a half whose sign is turned at the least cost.
template <int kLevels, int kHalf>
int CheapestFlip(const HalfCosts<kLevels, kHalf>& h, int half, size_t lane) {
  int best = 0;
  float least = INFINITY;
  for (int k = 0; k < kHalf; ++k, half /= kLevels) {
    const float cost = h.flip[k][half % kLevels][lane];
    if (cost < least) {
      least = cost;
      best = k;
    }
  }
  return best;
}

template <int kLevels, int kHalf>
Choice Resolve(const GranuleIndex& index, const HalfCosts<kLevels, kHalf>& a,
               const HalfCosts<kLevels, kHalf>& b, int32_t number, bool turn, size_t lane) {
  const GranuleIndex::List& list = index.lists[static_cast<size_t>(number)];
  const uint32_t plain = Cheapest(index, list, b.cost, lane);
  if (!turn) return {index.entry[plain], -1};
  const uint32_t flipped = Cheapest(index, list, b.flipped, lane);
  const float in_first = a.flipped[list.first][lane] + b.cost[index.second[plain]][lane];
  const float in_second = a.cost[list.first][lane] + b.flipped[index.second[flipped]][lane];
  if (in_first <= in_second) return {index.entry[plain], CheapestFlip(a, list.first, lane)};
  return {index.entry[flipped], kHalf + CheapestFlip(b, index.second[flipped], lane)};
}

/// The codes of an octet in one lane: one entry or two, the elements (bits) whose signs are turned,
/// and what they cost.
struct OctetChoice {
  std::array<uint16_t, 2> entries;
  uint8_t turned;
  float cost;
};

/// The cheapest entries of an octet's magnitudes (values, where levels have signs) for every lane;
/// where `odd`, with one sign turned.
template <int kLevels, int kHalf, bool kFlip>
HWY_INLINE void ChooseOctet(const GranuleIndex& index, const V* x, const V* w, const V* points,
                            const bool* odd, OctetChoice* out) {
  constexpr int kWidth = 2 * kHalf, kGranules = 8 / kWidth;
  const size_t lanes = hn::Lanes(D());
  const hn::Rebind<int32_t, D> di;
  HalfCosts<kLevels, kHalf> first, second;
  Choice plain[2][kCodebookGroups], turned[2][kCodebookGroups];
  alignas(64) Row plain_cost[2], turned_cost[2];
  for (int i = 0; i < kGranules; ++i) {
    MakeCosts<kLevels, kHalf, kFlip>(x + i * kWidth, w + i * kWidth, points, first);
    MakeCosts<kLevels, kHalf, kFlip>(x + i * kWidth + kHalf, w + i * kWidth + kHalf, points,
                                     second);
    Nearest nearest, nearest_turned;
    FindNearest<kLevels, kHalf, kFlip>(index, first, second, &nearest, &nearest_turned);
    alignas(64) int32_t list[kCodebookGroups], turned_list[kCodebookGroups];
    Store(nearest.cost, plain_cost[i]);
    Store(nearest_turned.cost, turned_cost[i]);
    hn::Store(nearest.list, di, list);
    hn::Store(nearest_turned.list, di, turned_list);
    for (size_t g = 0; g < lanes; ++g) {
      plain[i][g] = Resolve(index, first, second, list[g], false, g);
      if (kFlip && odd[g]) turned[i][g] = Resolve(index, first, second, turned_list[g], true, g);
    }
  }
  for (size_t g = 0; g < lanes; ++g) {
    const bool turn = kFlip && odd[g];
    bool turn_first = turn;
    if (turn && kGranules == 2) {
      turn_first = turned_cost[0][g] + plain_cost[1][g] <= plain_cost[0][g] + turned_cost[1][g];
    }
    OctetChoice& octet = out[g];
    octet = {{}, 0, 0};
    for (int i = 0; i < kGranules; ++i) {
      const bool here = turn && turn_first == (i == 0);
      const Choice& choice = here ? turned[i][g] : plain[i][g];
      octet.entries[static_cast<size_t>(i)] = choice.entry;
      if (here) octet.turned = static_cast<uint8_t>(1 << (i * kWidth + choice.turned));
      octet.cost += here ? turned_cost[i][g] : plain_cost[i][g];
    }
  }
}

/// What the cheapest entries cost without and (kFlip) with one sign turned.
template <int kLevels, int kHalf, bool kFlip>
HWY_INLINE void LeastCosts(const GranuleIndex& index, const HalfCosts<kLevels, kHalf>& a,
                           const HalfCosts<kLevels, kHalf>& b, V* plain, V* turned) {
  const V infinity = Set(INFINITY);
  *plain = *turned = infinity;
  const uint8_t* second = index.second.data();
  for (const GranuleIndex::List& list : index.lists) {
    const V least = LeastOf(b.cost, second, list);
    V least_flipped = infinity;
    if constexpr (kFlip) least_flipped = LeastOf(b.flipped, second, list);
    const V cost = Load(a.cost[list.first]);
    *plain = hn::Min(*plain, hn::Add(cost, least));
    if constexpr (kFlip) {
      const V in_first = hn::Add(Load(a.flipped[list.first]), least);
      *turned = hn::Min(*turned, hn::Min(in_first, hn::Add(cost, least_flipped)));
    }
  }
}

/// What ChooseOctet's choice costs.
template <int kLevels, int kHalf, bool kFlip>
HWY_INLINE V CostOfOctet(const GranuleIndex& index, const V* x, const V* w, const V* points,
                         hn::Mask<D> odd) {
  constexpr int kWidth = 2 * kHalf, kGranules = 8 / kWidth;
  HalfCosts<kLevels, kHalf> first, second;
  V plain[2], turned[2];
  for (int i = 0; i < kGranules; ++i) {
    MakeCosts<kLevels, kHalf, kFlip>(x + i * kWidth, w + i * kWidth, points, first);
    MakeCosts<kLevels, kHalf, kFlip>(x + i * kWidth + kHalf, w + i * kWidth + kHalf, points,
                                     second);
    LeastCosts<kLevels, kHalf, kFlip>(index, first, second, &plain[i], &turned[i]);
  }
  if constexpr (kGranules == 1) return kFlip ? hn::IfThenElse(odd, turned[0], plain[0]) : plain[0];
  const V cost = hn::Add(plain[0], plain[1]);
  if constexpr (!kFlip) return cost;
  return hn::IfThenElse(odd, hn::Min(hn::Add(turned[0], plain[1]), hn::Add(plain[0], turned[1])),
                        cost);
}

}  // namespace HWY_NAMESPACE
}  // namespace smelt
HWY_AFTER_NAMESPACE();

#endif  // SMELT_QUANT_CODEBOOK_NEAREST_INL_H_
