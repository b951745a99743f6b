// From scales to codes and their sums, or to their error alone, for every kind of codebook.
// Included once per instruction set.
#if defined(SMELT_QUANT_CODEBOOK_CODES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SMELT_QUANT_CODEBOOK_CODES_INL_H_
#undef SMELT_QUANT_CODEBOOK_CODES_INL_H_
#else
#define SMELT_QUANT_CODEBOOK_CODES_INL_H_
#endif

#include <cmath>
#include <cstdint>

#include "hwy/highway.h"
#include "quant/codebook_batch.h"
#include "quant/codebook_format.h"
#include "quant/codebook_nearest-inl.h"

HWY_BEFORE_NAMESPACE();
namespace smelt {
namespace HWY_NAMESPACE {
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
inline HWY_NOINLINE void QuantizeShifted(const CodebookFormat& f, CodebookBatch& b, size_t lane) {
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

inline HWY_NOINLINE void CostShifted(const CodebookFormat& f, CodebookBatch& b, size_t lane) {
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
inline HWY_NOINLINE void QuantizeLevels(const CodebookFormat& f, CodebookBatch& b, size_t lane) {
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
inline void Quantize(const CodebookFormat& f, CodebookBatch& b, size_t lane) {
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
inline void Cost(const CodebookFormat& f, CodebookBatch& b, size_t lane) {
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

inline void CostAll(const CodebookFormat& f, CodebookBatch& b) {
  for (size_t lane = 0; lane < kCodebookGroups; lane += hn::Lanes(D())) Cost(f, b, lane);
}

inline void QuantizeAll(const CodebookFormat& f, CodebookBatch& b) {
  for (size_t lane = 0; lane < kCodebookGroups; lane += hn::Lanes(D())) Quantize(f, b, lane);
}

}  // namespace HWY_NAMESPACE
}  // namespace smelt
HWY_AFTER_NAMESPACE();

#endif  // SMELT_QUANT_CODEBOOK_CODES_INL_H_
