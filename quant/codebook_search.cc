// The search with one group in one SIMD lane.
#include "quant/codebook_search.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "lib/base/float16.h"
#include "quant/codebook_format.h"
#include "quant/search.h"
#include "quant/stored_scale.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/codebook_search.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#ifndef SMELT_QUANT_CODEBOOK_BATCH
#define SMELT_QUANT_CODEBOOK_BATCH
namespace smelt {

/// Groups that are encoded together: the lanes of the widest vector.
inline constexpr size_t kCodebookGroups = 16;
inline constexpr size_t kMaxScaleGroup = 256;
inline constexpr int kMaxGranuleLevels = 8;
/// Scales around that of single levels with which a codebook's entries are tried.
inline constexpr std::array<float, 2> kAround = {0.96f, 1.07f};

/// Values of a batch, element by element: x[j][g] is element j of group g, in units of the group's
/// largest magnitude. Rows hold one number per group.
struct CodebookBatch {
  using Row = float[kCodebookGroups];
  alignas(64) Row x[kMaxScaleGroup], w[kMaxScaleGroup];
  alignas(64) Row q[kMaxScaleGroup];  ///< codes found last
  alignas(64) Row largest, inverse;   ///< signed value of largest magnitude; 0 for a group of zeros
  alignas(64) Row scale;              ///< to quantize with, in units of `largest`
  alignas(64) Row error, xq, qq;      ///< sums found last
  alignas(64) Row best_xq, best_qq;
  /// What the codes found last are stored as: entries by granule, and by octet the elements (bits)
  /// that have not their value's sign, or whether codes are shifted down.
  uint16_t entries[kCodebookGroups][8];
  uint8_t turned[kCodebookGroups][4];
};

}  // namespace smelt
#endif  // SMELT_QUANT_CODEBOOK_BATCH

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
uint32_t OrderedBits(float v) { return std::bit_cast<uint32_t>(v); }

/// First of the list's entries whose second half costs least.
uint32_t Cheapest(const GranuleIndex& index, const GranuleIndex::List& list, const Row* costs,
                  size_t lane) {
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

/// Octet `o` of the groups in the lanes from `lane` on.
struct Octet {
  V x[8], w[8];
};

HWY_INLINE Octet LoadOctet(const CodebookBatch& b, uint32_t o, size_t lane) {
  Octet octet;
  for (uint32_t k = 0; k < 8; ++k) {
    octet.x[k] = Load(b.x[8 * o + k] + lane);
    octet.w[k] = Load(b.w[8 * o + k] + lane);
  }
  return octet;
}

/// Lanes where an odd number of the octet's values is negative.
HWY_INLINE hn::Mask<D> OddSigns(const Octet& octet) {
  V bits = octet.x[0];
  for (int k = 1; k < 8; ++k) bits = hn::Xor(bits, octet.x[k]);
  return hn::Lt(hn::CopySign(Set(1.0f), bits), Zero());
}

template <int kLevels>
HWY_INLINE void MakePoints(const CodebookFormat& f, V scale, int factor, int shift, V* points) {
  for (int l = 0; l < kLevels; ++l)
    points[l] = hn::Mul(scale, Set(static_cast<float>(factor * f.values[l] + shift)));
}

/// The nearest codes of the groups in the lanes from `lane` on, in granules of 2 kHalf elements
/// whose levels are magnitudes.
template <int kLevels, int kHalf, bool kEven>
HWY_NOINLINE void QuantizeMagnitudes(const CodebookFormat& f, CodebookBatch& b, size_t lane) {
  constexpr uint32_t kWidth = 2 * kHalf, kGranules = 8 / kWidth;
  const size_t lanes = hn::Lanes(D());
  V points[kLevels];
  MakePoints<kLevels>(f, Load(b.scale + lane), 1, 0, points);
  for (uint32_t o = 0; o < f.group / 8; ++o) {
    Octet octet = LoadOctet(b, o, lane);
    alignas(64) Row odd_lanes;
    Store(hn::IfThenElse(OddSigns(octet), Set(1.0f), Zero()), odd_lanes);
    bool odd[kCodebookGroups];
    for (size_t g = 0; g < lanes; ++g) odd[g] = odd_lanes[g] != 0;
    for (V& x : octet.x) x = hn::Abs(x);
    OctetChoice choices[kCodebookGroups];
    ChooseOctet<kLevels, kHalf, kEven>(f.index(), octet.x, octet.w, points, odd, choices);
    for (size_t g = 0; g < lanes; ++g) {
      b.turned[lane + g][o] = choices[g].turned;
      for (uint32_t i = 0; i < kGranules; ++i) {
        const uint16_t entry = choices[g].entries[i];
        b.entries[lane + g][o * kGranules + i] = entry;
        const int8_t* values = f.codebook + static_cast<size_t>(entry) * kWidth;
        for (uint32_t k = 0; k < kWidth; ++k) b.q[8 * o + i * kWidth + k][lane + g] = values[k];
      }
    }
    for (uint32_t k = 0; k < 8; ++k) {
      float* q = b.q[8 * o + k] + lane;
      Store(hn::CopySign(Load(q), Load(b.x[8 * o + k] + lane)), q);
    }
    for (size_t g = 0; kEven && g < lanes; ++g) {
      if (choices[g].turned == 0) continue;
      float& q = b.q[8 * o + static_cast<uint32_t>(std::countr_zero(choices[g].turned))][lane + g];
      q = -q;
    }
  }
}

template <int kLevels, int kHalf, bool kEven>
HWY_NOINLINE void CostMagnitudes(const CodebookFormat& f, CodebookBatch& b, size_t lane) {
  V points[kLevels];
  MakePoints<kLevels>(f, Load(b.scale + lane), 1, 0, points);
  V cost = Zero();
  for (uint32_t o = 0; o < f.group / 8; ++o) {
    Octet octet = LoadOctet(b, o, lane);
    const auto odd = OddSigns(octet);
    for (V& x : octet.x) x = hn::Abs(x);
    cost =
        hn::Add(cost, CostOfOctet<kLevels, kHalf, kEven>(f.index(), octet.x, octet.w, points, odd));
  }
  Store(cost, b.error + lane);
}

/// Shifts of signed levels: a code is eight times the level plus one, or less one.
constexpr int kUp = 0, kDown = 1, kShifts[2] = {1, -1};
constexpr int kShiftedLevels = 3;

/// The nearest codes in granules of eight signed levels that are shifted.
HWY_NOINLINE void QuantizeShifted(const CodebookFormat& f, CodebookBatch& b, size_t lane) {
  const size_t lanes = hn::Lanes(D());
  OctetChoice choices[2][4][kCodebookGroups];
  float cost[2][kCodebookGroups] = {};
  const uint32_t octets = f.group / 8;
  for (int shift : {kUp, kDown}) {
    V points[kShiftedLevels];
    MakePoints<kShiftedLevels>(f, Load(b.scale + lane), 8, kShifts[shift], points);
    for (uint32_t o = 0; o < octets; ++o) {
      const Octet octet = LoadOctet(b, o, lane);
      ChooseOctet<kShiftedLevels, 4, false>(f.index(), octet.x, octet.w, points, nullptr,
                                            choices[shift][o]);
      for (size_t g = 0; g < lanes; ++g) cost[shift][g] += choices[shift][o][g].cost;
    }
  }
  for (size_t g = 0; g < lanes; ++g) {
    for (uint32_t o = 0; o < octets; ++o) {
      const bool down = f.shift == Shift::kPerGroup
                            ? cost[kDown][g] < cost[kUp][g]
                            : choices[kDown][o][g].cost < choices[kUp][o][g].cost;
      const uint16_t entry = choices[down ? kDown : kUp][o][g].entries[0];
      b.turned[lane + g][o] = down;
      b.entries[lane + g][o] = entry;
      const int8_t* values = f.codebook + static_cast<size_t>(entry) * 8;
      for (uint32_t k = 0; k < 8; ++k)
        b.q[8 * o + k][lane + g] = static_cast<float>(8 * values[k] + kShifts[down]);
    }
  }
}

HWY_NOINLINE void CostShifted(const CodebookFormat& f, CodebookBatch& b, size_t lane) {
  V up = Zero(), down = Zero(), either = Zero();
  V points[2][kShiftedLevels];
  for (int shift : {kUp, kDown})
    MakePoints<kShiftedLevels>(f, Load(b.scale + lane), 8, kShifts[shift], points[shift]);
  for (uint32_t o = 0; o < f.group / 8; ++o) {
    const Octet octet = LoadOctet(b, o, lane);
    V cost[2];
    for (int shift : {kUp, kDown}) {
      cost[shift] = CostOfOctet<kShiftedLevels, 4, false>(f.index(), octet.x, octet.w,
                                                          points[shift], hn::Mask<D>());
    }
    up = hn::Add(up, cost[kUp]);
    down = hn::Add(down, cost[kDown]);
    either = hn::Add(either, hn::Min(cost[kUp], cost[kDown]));
  }
  Store(f.shift == Shift::kPerGroup ? hn::Min(up, down) : either, b.error + lane);
}

/// The nearest codes where each element takes any level.
HWY_NOINLINE void QuantizeLevels(const CodebookFormat& f, CodebookBatch& b, size_t lane) {
  const V scale = Load(b.scale + lane);
  const V inverse = hn::IfThenElseZero(hn::Ne(scale, Zero()), hn::Div(Set(1.0f), scale));
  const V lowest = Set(static_cast<float>(f.values[0]));
  for (uint32_t j = 0; j < f.group; ++j) {
    const V u = hn::Mul(Load(b.x[j] + lane), inverse);
    V q = lowest;
    for (int l = 1; l < f.levels; ++l) {
      const V middle = Set(0.5f * static_cast<float>(f.values[l - 1] + f.values[l]));
      q = hn::IfThenElse(hn::Gt(u, middle), Set(static_cast<float>(f.values[l])), q);
    }
    Store(q, b.q[j] + lane);
  }
}

/// Codes by `scale`, and their sums.
void Quantize(const CodebookFormat& f, CodebookBatch& b, size_t lane) {
  if (f.granule == 0) {
    QuantizeLevels(f, b, lane);
  } else if (f.shift != Shift::kNone) {
    QuantizeShifted(f, b, lane);
  } else if (f.granule == 8) {
    f.signs == Signs::kEven ? QuantizeMagnitudes<3, 4, true>(f, b, lane)
                            : QuantizeMagnitudes<3, 4, false>(f, b, lane);
  } else {
    f.signs == Signs::kEven ? QuantizeMagnitudes<8, 2, true>(f, b, lane)
                            : QuantizeMagnitudes<8, 2, false>(f, b, lane);
  }
  const V scale = Load(b.scale + lane);
  V error = Zero(), xq = Zero(), qq = Zero();
  for (uint32_t j = 0; j < f.group; ++j) {
    const V x = Load(b.x[j] + lane), q = Load(b.q[j] + lane);
    const V wq = hn::Mul(Load(b.w[j] + lane), q);
    const V e = hn::Sub(x, hn::Mul(scale, q));
    error = hn::Add(error, hn::Mul(Load(b.w[j] + lane), hn::Mul(e, e)));
    xq = hn::Add(xq, hn::Mul(wq, x));
    qq = hn::Add(qq, hn::Mul(wq, q));
  }
  Store(error, b.error + lane);
  Store(xq, b.xq + lane);
  Store(qq, b.qq + lane);
}

/// Their error alone.
void Cost(const CodebookFormat& f, CodebookBatch& b, size_t lane) {
  if (f.granule == 0) {
    Quantize(f, b, lane);
  } else if (f.shift != Shift::kNone) {
    CostShifted(f, b, lane);
  } else if (f.granule == 8) {
    f.signs == Signs::kEven ? CostMagnitudes<3, 4, true>(f, b, lane)
                            : CostMagnitudes<3, 4, false>(f, b, lane);
  } else {
    f.signs == Signs::kEven ? CostMagnitudes<8, 2, true>(f, b, lane)
                            : CostMagnitudes<8, 2, false>(f, b, lane);
  }
}

void CostAll(const CodebookFormat& f, CodebookBatch& b) {
  for (size_t lane = 0; lane < kCodebookGroups; lane += hn::Lanes(D())) Cost(f, b, lane);
}

void QuantizeAll(const CodebookFormat& f, CodebookBatch& b) {
  for (size_t lane = 0; lane < kCodebookGroups; lane += hn::Lanes(D())) Quantize(f, b, lane);
}

/// Codes by `scale`; keeps them as each group's best where their own best scale leaves less error.
void Attempt(const CodebookFormat& f, CodebookBatch& b) {
  QuantizeAll(f, b);
  for (size_t lane = 0; lane < kCodebookGroups; lane += hn::Lanes(D())) {
    const V xq = Load(b.xq + lane), qq = Load(b.qq + lane);
    const V best_xq = Load(b.best_xq + lane), best_qq = Load(b.best_qq + lane);
    const auto better =
        hn::Gt(hn::Mul(hn::Mul(xq, xq), best_qq), hn::Mul(hn::Mul(best_xq, best_xq), qq));
    Store(hn::IfThenElse(better, xq, best_xq), b.best_xq + lane);
    Store(hn::IfThenElse(better, qq, best_qq), b.best_qq + lane);
  }
}

/// Their error if each element took the level that suits it best: what a codebook's entries at best
/// make.
void CostOfLevels(const CodebookFormat& f, CodebookBatch& b, size_t lane) {
  const bool magnitudes = f.signs != Signs::kInLevels;
  const V scale = Load(b.scale + lane);
  V total = Set(INFINITY);
  for (const int shift : {1, -1}) {
    V points[kMaxGranuleLevels];
    for (int l = 0; l < f.levels; ++l) {
      const int value = f.shift == Shift::kNone ? f.values[l] : 8 * f.values[l] + shift;
      points[l] = hn::Mul(scale, Set(static_cast<float>(value)));
    }
    V sum = Zero();
    for (uint32_t j = 0; j < f.group; ++j) {
      const V x = magnitudes ? hn::Abs(Load(b.x[j] + lane)) : Load(b.x[j] + lane);
      V least = Set(INFINITY);
      for (int l = 0; l < f.levels; ++l) least = hn::Min(least, hn::Abs(hn::Sub(x, points[l])));
      sum = hn::Add(sum, hn::Mul(Load(b.w[j] + lane), hn::Mul(least, least)));
    }
    total = hn::Min(total, sum);
    if (f.shift == Shift::kNone) break;
  }
  Store(total, b.error + lane);
}

/// The best scale so far of each group, by the error that its codes leave.
struct BestScales {
  Row scale = {};
  Row error;

  BestScales() { std::fill_n(error, kCodebookGroups, INFINITY); }
  void Consider(const CodebookBatch& b) {
    for (size_t g = 0; g < kCodebookGroups; ++g) {
      if (!(b.error[g] < error[g])) continue;
      error[g] = b.error[g];
      scale[g] = b.scale[g];
    }
  }
};

/// Where to start from with a codebook of granules.
void FindStart(const CodebookFormat& f, float unit, CodebookBatch& b) {
  BestScales rough, best;
  float factor = f.lowest;
  for (int c = 0; c < f.candidates; ++c, factor *= f.step) {
    std::fill_n(b.scale, kCodebookGroups, factor * unit);
    for (size_t lane = 0; lane < kCodebookGroups; lane += hn::Lanes(D())) CostOfLevels(f, b, lane);
    rough.Consider(b);
  }
  // Entries with shifts are so many that single levels say enough.
  std::copy_n(rough.scale, kCodebookGroups, b.scale);
  if (f.shift != Shift::kNone) return;
  for (const float around : kAround) {
    for (size_t g = 0; g < kCodebookGroups; ++g) b.scale[g] = rough.scale[g] * around;
    CostAll(f, b);
    best.Consider(b);
  }
  std::copy_n(best.scale, kCodebookGroups, b.scale);
}

/// Finds the scale that each group wishes: best_xq / best_qq.
void FitScales(const CodebookFormat& f, CodebookBatch& b) {
  std::fill_n(b.best_xq, kCodebookGroups, 0.0f);
  std::fill_n(b.best_qq, kCodebookGroups, 1.0f);
  const int end = std::max(std::abs(f.values[0]), std::abs(f.values[f.levels - 1]));
  const float unit = 1.0f / static_cast<float>(f.shift == Shift::kNone ? end : 8 * end);
  if (f.granule != 0) {
    FindStart(f, unit, b);
    Attempt(f, b);
    return;
  }
  for (int sign = 1; sign >= (f.both_signs ? -1 : 1); sign -= 2) {
    float factor = f.lowest;
    for (int c = 0; c < f.candidates; ++c, factor *= f.step) {
      std::fill_n(b.scale, kCodebookGroups, static_cast<float>(sign) * factor * unit);
      Attempt(f, b);
    }
  }
  for (size_t g = 0; g < kCodebookGroups; ++g) b.scale[g] = b.best_xq[g] / b.best_qq[g];
  Attempt(f, b);
}

/// Groups from rows to columns; groups that do not exist are zeros.
void FillBatch(const BlockFormat& format, const float* x, const float* w, uint64_t columns,
               uint64_t first, size_t groups, CodebookBatch& b) {
  const uint32_t group = format.codebook->group;
  for (size_t g = 0; g < kCodebookGroups; ++g) {
    const float* values = x + first + g * group;
    float largest = 0;
    for (uint32_t j = 0; j < group && g < groups; ++j) {
      if (std::abs(values[j]) > std::abs(largest)) largest = values[j];
    }
    if (!(std::abs(largest) > kTiny)) largest = 0;
    b.largest[g] = largest;
    b.inverse[g] = largest == 0 ? 0.0f : 1.0f / std::abs(largest);
    for (uint32_t j = 0; j < group; ++j) b.x[j][g] = largest == 0 ? 0.0f : values[j] * b.inverse[g];
    const float* weights = w == nullptr ? nullptr : w + (first + g * group) % columns;
    for (uint32_t j = 0; j < group; ++j)
      b.w[j][g] = weights == nullptr || g >= groups ? 1.0f : weights[j];
  }
}

/// A stored scale in units of its group's largest value; 0 where it is no number.
float InUnits(const CodebookBatch& b, size_t g, float scale) {
  const float units = scale * b.inverse[g];
  return std::isfinite(units) ? units : 0.0f;
}

/// Stored scales of the groups of a batch: the half of each group's super-block (or its own), and
/// integers or bytes.
struct StoredScales {
  std::array<uint16_t, kCodebookGroups> halves{};
  std::array<int, kCodebookGroups> numbers{};
  std::array<double, kCodebookGroups> errors{};
};

void SetScales(const CodebookFormat& f, const StoredScales& stored, CodebookBatch& b) {
  for (size_t g = 0; g < kCodebookGroups; ++g) {
    const float d = F16ToF32(stored.halves[g]);
    b.scale[g] =
        InUnits(b, g, f.scale.kind == ScaleKind::kF16 ? d : ScaleOf(f.scale, d, stored.numbers[g]));
  }
}

/// The weighted squared error of each group, in the values' own units.
void TakeErrors(const CodebookBatch& b, std::array<double, kCodebookGroups>& errors) {
  for (size_t g = 0; g < kCodebookGroups; ++g) {
    errors[g] = static_cast<double>(b.error[g]) * b.largest[g] * b.largest[g];
  }
}

/// Integers or bytes: what rounding the wish gives, or a neighbour that does better.
void ChooseNumbers(const CodebookFormat& f, const float* wishes, CodebookBatch& b,
                   StoredScales& stored) {
  std::array<int, kCodebookGroups> middle;
  for (size_t g = 0; g < kCodebookGroups; ++g)
    middle[g] = RoundScale(f.scale, F16ToF32(stored.halves[g]), wishes[g]);
  stored.errors.fill(INFINITY);
  for (int step : {0, -1, 1}) {
    StoredScales trial = stored;
    for (size_t g = 0; g < kCodebookGroups; ++g)
      trial.numbers[g] = StepScale(f.scale, middle[g], step);
    SetScales(f, trial, b);
    CostAll(f, b);
    TakeErrors(b, trial.errors);
    for (size_t g = 0; g < kCodebookGroups; ++g) {
      if (!(trial.errors[g] < stored.errors[g])) continue;
      stored.errors[g] = trial.errors[g];
      stored.numbers[g] = trial.numbers[g];
    }
  }
}

/// Fits each super-block's half to the codes that its groups have now. False where none changed.
bool RefitHalves(const CodebookFormat& f, uint32_t groups, const CodebookBatch& b,
                 StoredScales& stored) {
  bool changed = false;
  for (size_t first = 0; first < kCodebookGroups; first += groups) {
    double mx = 0, mm = 0;
    for (size_t g = first; g < first + groups; ++g) {
      const double m = static_cast<double>(f.scale.unit) * f.scale.Multiplier(stored.numbers[g]);
      mx += m * std::abs(static_cast<double>(b.largest[g])) * b.xq[g];
      mm += m * m * b.qq[g];
    }
    const double d = mm > 0 ? mx / mm : 0;
    const uint16_t half = F32ToF16(static_cast<float>(d));
    if (!std::isfinite(d) || !std::isfinite(F16ToF32(half)) || (half & 0x7fff) == 0) continue;
    if (half == stored.halves[first]) continue;
    changed = true;
    std::fill_n(stored.halves.begin() + static_cast<ptrdiff_t>(first), groups, half);
  }
  return changed;
}

/// The error of each group with the codes found last under other scales, less what all have in
/// common.
void ErrorsOfCodes(const CodebookFormat& f, const CodebookBatch& b, StoredScales& stored) {
  for (size_t g = 0; g < kCodebookGroups; ++g) {
    const double scale = ScaleOf(f.scale, F16ToF32(stored.halves[g]), stored.numbers[g]);
    const double largest = std::abs(static_cast<double>(b.largest[g]));
    stored.errors[g] = scale * (scale * b.qq[g] - 2 * largest * b.xq[g]);
  }
}

/// Keeps the trial of each super-block where it has less error.
void KeepBetter(uint32_t groups, const StoredScales& trial, StoredScales& stored) {
  for (size_t first = 0; first < kCodebookGroups; first += groups) {
    double before = 0, after = 0;
    for (size_t g = first; g < first + groups; ++g) {
      before += stored.errors[g];
      after += trial.errors[g];
    }
    if (!(after < before)) continue;
    for (size_t g = first; g < first + groups; ++g) {
      stored.halves[g] = trial.halves[g];
      stored.numbers[g] = trial.numbers[g];
      stored.errors[g] = trial.errors[g];
    }
  }
}

void ChooseSuperBlocks(const CodebookFormat& f, uint32_t groups, int largest_code,
                       const float* wishes, CodebookBatch& b, StoredScales& stored) {
  for (size_t first = 0; first < kCodebookGroups; first += groups) {
    ScaleWish wish[kMaxBlockGroups];
    for (uint32_t g = 0; g < groups; ++g) wish[g] = {wishes[first + g], b.best_qq[first + g]};
    std::fill_n(stored.halves.begin() + static_cast<ptrdiff_t>(first), groups,
                ChooseSuperScale(f.scale, largest_code, wish, groups));
  }
  ChooseNumbers(f, wishes, b, stored);
  SetScales(f, stored, b);
  QuantizeAll(f, b);
  StoredScales trial = stored;
  if (!RefitHalves(f, groups, b, trial)) return;
  ErrorsOfCodes(f, b, stored);
  ErrorsOfCodes(f, b, trial);
  KeepBetter(groups, trial, stored);
}

/// The numbers of block `i` of a batch, whose codes were found last.
void TakeNumbers(const BlockFormat& format, uint32_t groups, const CodebookBatch& b,
                 const StoredScales& stored, size_t i, BlockNumbers& numbers) {
  const CodebookFormat& f = *format.codebook;
  numbers.d = stored.halves[i * groups];
  for (uint32_t g = 0; g < groups; ++g) {
    const size_t lane = i * groups + g;
    numbers.scales[g] = static_cast<int8_t>(stored.numbers[lane]);
    if (f.granule == 0) {
      for (uint32_t j = 0; j < f.group; ++j)
        numbers.codes[g * f.group + j] = static_cast<int8_t>(b.q[j][lane]);
      continue;
    }
    const uint32_t octets = f.group / 8, granules = f.group / f.granule;
    std::copy_n(b.entries[lane], granules, numbers.entries.begin() + g * granules);
    for (uint32_t o = 0; o < octets; ++o) {
      uint32_t bits = b.turned[lane][o];
      for (uint32_t k = 0; f.shift == Shift::kNone && k < 8; ++k)
        bits ^= static_cast<uint32_t>(std::signbit(b.x[8 * o + k][lane])) << k;
      numbers.signs[g * octets + o] = static_cast<uint8_t>(bits);
    }
  }
}

void EncodeCodebookBlocks(const BlockFormat& format, const float* x, const float* w,
                          uint64_t columns, uint64_t blocks, uint8_t* out) {
  const CodebookFormat& f = *format.codebook;
  const uint32_t groups = format.elements / f.group;
  const uint64_t batch_blocks = kCodebookGroups / groups;
  const int end = std::max(std::abs(f.values[0]), std::abs(f.values[f.levels - 1]));
  const int largest_code = f.shift == Shift::kNone ? end : 8 * end + 1;
  CodebookBatch b;
  for (uint64_t block = 0; block < blocks; block += batch_blocks) {
    const uint64_t n = std::min(batch_blocks, blocks - block);
    FillBatch(format, x, w, columns, block * format.elements, n * groups, b);
    FitScales(f, b);
    alignas(64) Row wishes;
    for (size_t g = 0; g < kCodebookGroups; ++g)
      wishes[g] = std::abs(b.largest[g]) * (b.best_xq[g] / b.best_qq[g]);
    StoredScales stored;
    if (f.scale.kind == ScaleKind::kInteger) {
      ChooseSuperBlocks(f, groups, largest_code, wishes, b, stored);
    } else if (f.scale.kind == ScaleKind::kF16) {
      for (size_t g = 0; g < kCodebookGroups; ++g)
        stored.halves[g] = ScaleToF16(wishes[g], largest_code, 1);
    } else {
      ChooseNumbers(f, wishes, b, stored);
      for (size_t g = 0; g < kCodebookGroups && f.scale.kind == ScaleKind::kE4M3; ++g)
        if (std::abs(b.largest[g]) > kLargestUnderE4M3) stored.numbers[g] = kBeyondE4M3;
    }
    SetScales(f, stored, b);
    QuantizeAll(f, b);
    for (uint64_t i = 0; i < n; ++i) {
      BlockNumbers numbers;
      TakeNumbers(format, groups, b, stored, i, numbers);
      format.pack(numbers, out + (block + i) * format.bytes);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace smelt
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace smelt {

HWY_EXPORT(EncodeCodebookBlocks);

void EncodeCodebookBlocks(const BlockFormat& format, const float* x, const float* w,
                          uint64_t columns, uint64_t blocks, uint8_t* out) {
  HWY_DYNAMIC_DISPATCH(EncodeCodebookBlocks)(format, x, w, columns, blocks, out);
}

}  // namespace smelt
#endif  // HWY_ONCE
