// The search with one group in one SIMD lane.
#include "quant/codebook_search.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "lib/base/float16.h"
#include "quant/codebook_batch.h"
#include "quant/codebook_format.h"
#include "quant/search.h"
#include "quant/stored_scale.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/codebook_search.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "quant/codebook_codes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace smelt {
namespace HWY_NAMESPACE {
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
