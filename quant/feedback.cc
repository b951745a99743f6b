#include "quant/feedback.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "lib/base/float16.h"
#include "quant/codec.h"
#include "quant/feedback_group.h"
#include "quant/stored_scale.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/feedback.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "quant/feedback_fit-inl.h"

#ifndef SMELT_QUANT_FEEDBACK_PANEL
#define SMELT_QUANT_FEEDBACK_PANEL
namespace smelt {

/// Times that every group is decided again.
inline constexpr int kSweeps = 1;

/// Rows side by side, by position in the factor's order, in units of the row.
struct FeedbackPanel {
  using Row = FeedbackLanes;
  alignas(64) Row unit;   ///< a power of two near the row's largest value
  alignas(64) Row total;  ///< error of what was decided so far
  std::vector<float> memory;
  Row *weight, *value, *error;    ///< [columns]
  std::vector<int8_t> codes;      ///< [columns][rows]
  std::vector<uint16_t> entries;  ///< by group, row and granule of the group
  std::vector<uint8_t> turned;
  std::vector<GroupScales> groups;
  std::vector<BlockHalves> blocks;

  FeedbackPanel(uint64_t columns, uint64_t group_count, uint64_t block_count)
      : memory(3 * columns * kFeedbackRows + 16),
        codes(columns * kFeedbackRows),
        entries(columns / 4 * kFeedbackRows),
        turned(columns / 8 * kFeedbackRows),
        groups(group_count),
        blocks(block_count) {
    void* start = memory.data();
    size_t room = memory.size() * sizeof(float);
    Row* const first = static_cast<Row*>(std::align(64, room - 64, start, room));
    weight = first;
    value = first + columns;
    error = first + 2 * columns;
  }
};

}  // namespace smelt
#endif  // SMELT_QUANT_FEEDBACK_PANEL

HWY_BEFORE_NAMESPACE();
namespace smelt {
namespace HWY_NAMESPACE {

/// out[k] += sum over rows j0 .. j1 of e_j matrix[j][k] for the columns k0 .. k1, a multiple of 8.
void Accumulate(const float* matrix, uint64_t stride, uint64_t j0, uint64_t j1, uint64_t k0,
                uint64_t k1, const Row* e, Row* out) {
  constexpr uint64_t kTile = 8;
  for (size_t lane = 0; lane < kFeedbackRows; lane += hn::Lanes(D())) {
    for (uint64_t k = k0; k < k1; k += kTile) {
      V sums[kTile];
      for (uint64_t i = 0; i < kTile; ++i) sums[i] = Load(out[k - k0 + i] + lane);
      for (uint64_t j = j0; j < j1; ++j) {
        const float* const row = matrix + j * stride + k;
        const V error = Load(e[j] + lane);
        for (uint64_t i = 0; i < kTile; ++i)
          sums[i] = hn::Add(sums[i], hn::Mul(error, Set(row[i])));
      }
      for (uint64_t i = 0; i < kTile; ++i) Store(sums[i], out[k - k0 + i] + lane);
    }
  }
}

/// Targets of a group within the row's: later columns take over what their own targets ask of the
/// earlier ones.
void TargetsInGroup(const GroupFactor& f, const Row* weight, Row* target) {
  for (size_t lane = 0; lane < kFeedbackRows; lane += hn::Lanes(D())) {
    for (uint32_t k = 1; k < f.size; ++k) {
      V t = Load(target[k] + lane);
      for (uint32_t j = 0; j < k; ++j) {
        const V e = hn::Sub(Load(weight[j] + lane), Load(target[j] + lane));
        t = hn::Add(t, hn::Mul(e, Set(f.a[k * f.size + j])));
      }
      Store(t, target[k] + lane);
    }
  }
}

/// target = value + H^-1 gradient of a group, H = A diag(weights) A^T.
void TargetsOfGradient(const GroupFactor& f, const Row* value, Row* target) {
  for (size_t lane = 0; lane < kFeedbackRows; lane += hn::Lanes(D())) {
    V p[kMaxScaleGroup];
    for (uint32_t k = f.size; k-- > 0;) {
      p[k] = Load(target[k] + lane);
      for (uint32_t i = k + 1; i < f.size; ++i)
        p[k] = hn::Sub(p[k], hn::Mul(Set(f.a[i * f.size + k]), p[i]));
    }
    for (uint32_t k = 0; k < f.size; ++k) {
      p[k] = hn::Div(p[k], Set(f.weights[k]));
      for (uint32_t j = 0; j < k; ++j)
        p[k] = hn::Sub(p[k], hn::Mul(Set(f.a[k * f.size + j]), p[j]));
    }
    for (uint32_t k = 0; k < f.size; ++k)
      Store(hn::Add(Load(value[k] + lane), p[k]), target[k] + lane);
  }
}

template <class Rounding>
class FeedbackEncoder {
 public:
  FeedbackEncoder(const BlockFormat& format, const InputFactor& factor)
      : format_(format),
        rule_(format),
        rounding_(format),
        size_(format.codebook != nullptr ? format.codebook->group : format.group),
        factor_(factor),
        columns_(factor.columns()),
        panel_(columns_, columns_ / size_, columns_ / format.elements),
        groups_(format.elements / size_) {}

  /// `rows` (at most kFeedbackRows) rows.
  void Encode(uint64_t rows, const float* x, uint8_t* out) {
    LoadRows(rows, x);
    for (uint64_t block = 0; block < columns_ / format_.elements; ++block) DecideBlock(block);
    for (int sweep = 0; sweep < kSweeps; ++sweep) DecideAgain();
    alignas(64) Row searched;
    TakeErrorsOf(rows, out);
    SumErrors(searched);
    for (size_t r = 0; r < rows; ++r)
      if (panel_.total[r] < searched[r]) StoreRow(r, x + r * columns_, out);
  }

 private:
  void LoadRows(uint64_t rows, const float* x) {
    std::fill_n(panel_.total, kFeedbackRows, 0.0f);
    for (uint64_t r = 0; r < kFeedbackRows; ++r) {
      float largest = 0;
      const float* const row = x + r * columns_;
      for (uint64_t i = 0; r < rows && i < columns_; ++i)
        largest = std::max(largest, std::abs(row[i]));
      const int exponent = largest > 0 ? std::clamp(std::ilogb(largest), -60, 126) : 0;
      panel_.unit[r] = std::ldexp(1.0f, exponent);
      const float inverse = 1.0f / panel_.unit[r];
      for (uint64_t i = 0; i < columns_; ++i)
        panel_.weight[i][r] = r < rows ? row[factor_.order()[i]] * inverse : 0.0f;
    }
  }

  void SetGroup(uint64_t first) { group_.columns = factor_.order().data() + first; }

  /// The whole block's targets are known when it is entered, but for the errors of its own groups.
  void DecideBlock(uint64_t block) {
    const uint64_t first = block * format_.elements, end = first + format_.elements;
    std::memcpy(targets_, panel_.weight + first, format_.elements * sizeof(Row));
    Accumulate(factor_.feedback(), columns_, 0, first, first, end, panel_.error, targets_);
    if (rule_.super_block()) ChooseHalves(block);
    for (uint64_t g = 0; g < groups_; ++g) {
      const uint64_t at = first + g * size_;
      Accumulate(factor_.feedback(), columns_, first, at, at, at + size_, panel_.error,
                 targets_ + (at - first));
      EnterGroup(at, targets_ + (at - first));
      Wish& wish = wishes_[g];
      // Where scales are dear to try, what was wished when the block was entered is near enough.
      if (Rounding::kThorough || !rule_.super_block())
        FitFreely(format_, rule_, rounding_, group_, wish);
      Settled settled;
      Settle(rule_, rounding_, group_, wish, panel_.unit, panel_.blocks[block], settled);
      for (size_t r = 0; r < kFeedbackRows; ++r) panel_.total[r] += settled.cost[r];
      Keep(at, settled, nullptr);
    }
  }

  void EnterGroup(uint64_t at, const Row* targets) {
    SetGroup(at);
    group_factor_.Set(factor_.feedback() + at * columns_ + at, columns_, factor_.weights() + at,
                      size_);
    group_.factor = &group_factor_;
    std::memcpy(group_.target, targets, size_ * sizeof(Row));
    TargetsInGroup(group_factor_, panel_.weight + at, group_.target);
    SumTargets(group_);
  }

  void ChooseHalves(uint64_t block) {
    const uint64_t first = block * format_.elements;
    ScaleWish scales[kFeedbackRows][kMaxBlockGroups], minimums[kFeedbackRows][kMaxBlockGroups];
    for (uint64_t g = 0; g < groups_; ++g) {
      EnterGroup(first + g * size_, targets_ + g * size_);
      Wish& wish = wishes_[g];
      FitFreely(format_, rule_, rounding_, group_, wish);
      for (size_t r = 0; r < kFeedbackRows; ++r) {
        scales[r][g] = {wish.scale[r] * panel_.unit[r], wish.curvature[r]};
        minimums[r][g] = {wish.minimum[r] * panel_.unit[r], group_factor_.constant};
      }
    }
    BlockHalves& halves = panel_.blocks[block];
    for (size_t r = 0; r < kFeedbackRows; ++r) {
      const uint32_t count = static_cast<uint32_t>(groups_);
      halves.scale[r] = ChooseSuperScale(rule_.scale, rule_.largest_code, scales[r], count);
      if (rule_.has_minimum)
        halves.minimum[r] = ChooseSuperScale(rule_.minimum, 1, minimums[r], count);
    }
  }

  /// Puts what was settled in place, in rows where `better` says so (all, where it is null).
  void Keep(uint64_t at, const Settled& settled, const bool* better) {
    for (size_t lane = 0; lane < kFeedbackRows; lane += hn::Lanes(D())) {
      const ScalePair pair = {Load(settled.scales.scale + lane),
                              Load(settled.scales.minimum + lane)};
      Outcome unused;
      rounding_.template Evaluate<1, true>(group_, lane, &pair, &unused);
    }
    GroupScales& scales = panel_.groups[at / size_];
    for (size_t r = 0; r < kFeedbackRows; ++r) {
      if (better != nullptr && !better[r]) continue;
      scales.Take(settled.scales, r);
      for (uint32_t k = 0; k < size_; ++k) {
        panel_.value[at + k][r] = group_.value[k][r];
        panel_.error[at + k][r] = panel_.weight[at + k][r] - group_.value[k][r];
        panel_.codes[(at + k) * kFeedbackRows + r] = static_cast<int8_t>(group_.code[k][r]);
      }
      std::copy_n(group_.entries[r], size_ / 4, Entries(at, r));
      std::copy_n(group_.turned[r], size_ / 8, Turned(at, r));
    }
  }

  uint16_t* Entries(uint64_t at, size_t row) {
    return panel_.entries.data() + (at * kFeedbackRows + row * size_) / 4;
  }
  uint8_t* Turned(uint64_t at, size_t row) {
    return panel_.turned.data() + (at * kFeedbackRows + row * size_) / 8;
  }

  void DecideAgain() {
    const InputFactor::Local* const local = factor_.local(size_);
    if (local == nullptr || !format_.searched) return;
    for (uint64_t at = 0; at < columns_; at += size_) {
      SetGroup(at);
      group_factor_.Set(local->feedback.data() + at * size_, size_, local->weights.data() + at,
                        size_);
      group_.factor = &group_factor_;
      std::memset(group_.target, 0, size_ * sizeof(Row));
      Accumulate(factor_.moment(), columns_, 0, columns_, at, at + size_, panel_.error,
                 group_.target);
      TargetsOfGradient(group_factor_, panel_.value + at, group_.target);
      SumTargets(group_);
      Settled settled;
      Wish wish;
      settled.Begin(rule_, group_, panel_.value + at, panel_.groups[at / size_], wish);
      alignas(64) Row before;
      std::copy_n(settled.cost, kFeedbackRows, before);
      const BlockHalves& halves = panel_.blocks[at / format_.elements];
      GroupScales trials[kTried] = {
          settled.scales, rule_.Store(wish.scale, wish.minimum, panel_.unit, halves, 0),
          rule_.Store(settled.scales.scale, wish.minimum, panel_.unit, halves, -1),
          rule_.Store(settled.scales.scale, wish.minimum, panel_.unit, halves, 1)};
      Try(rule_, rounding_, group_, trials, panel_.unit, halves, settled);
      bool better[kFeedbackRows];
      for (size_t r = 0; r < kFeedbackRows; ++r) {
        better[r] = settled.cost[r] < before[r];
        if (better[r]) panel_.total[r] -= before[r] - settled.cost[r];
      }
      Keep(at, settled, better);
    }
  }

  /// (w - v) H (w - v)^T of each row.
  void SumErrors(Row& sums) {
    constexpr uint64_t kTile = 8;
    std::fill_n(sums, kFeedbackRows, 0.0f);
    for (uint64_t k = 0; k < columns_; k += kTile) {
      alignas(64) Row u[kTile];
      std::memcpy(u, panel_.error + k, sizeof(u));
      Accumulate(factor_.feedback(), columns_, 0, k + kTile, k, k + kTile, panel_.error, u);
      for (uint64_t i = 0; i < kTile; ++i)
        for (size_t r = 0; r < kFeedbackRows; ++r)
          sums[r] += factor_.weights()[k + i] * (u[i][r] * u[i][r]);
    }
  }

  /// The errors of encoded rows.
  void TakeErrorsOf(uint64_t rows, const uint8_t* encoded) {
    std::vector<float> values(columns_);
    const uint64_t row_bytes = columns_ / format_.elements * format_.bytes;
    for (size_t r = 0; r < rows; ++r) {
      FindCodec(format_.type)
          ->Decode(reinterpret_cast<const std::byte*>(encoded + r * row_bytes), columns_,
                   values.data());
      const float inverse = 1.0f / panel_.unit[r];
      for (uint64_t i = 0; i < columns_; ++i)
        panel_.error[i][r] = panel_.weight[i][r] - values[factor_.order()[i]] * inverse;
    }
  }

  void StoreRow(size_t r, const float* x, uint8_t* out) {
    const uint64_t blocks = columns_ / format_.elements;
    for (uint64_t block = 0; block < blocks; ++block) {
      const uint64_t first = block * format_.elements;
      const uint64_t natural = factor_.order()[first] / format_.elements;
      BlockNumbers numbers;
      numbers.d = panel_.blocks[block].scale[r];
      numbers.m = panel_.blocks[block].minimum[r];
      for (uint64_t g = 0; g < groups_; ++g) TakeGroup(first + g * size_, r, x, numbers);
      format_.pack(numbers, out + (r * blocks + natural) * format_.bytes);
    }
  }

  void TakeGroup(uint64_t at, size_t r, const float* x, BlockNumbers& numbers) {
    const uint32_t* const order = factor_.order().data() + at;
    const uint64_t start = order[0] / size_ * size_;
    const uint64_t g = start % format_.elements / size_;
    const GroupScales& scales = panel_.groups[at / size_];
    if (!rule_.super_block()) {
      numbers.d = scales.half[r];
      numbers.m = scales.half_minimum[r];
    }
    numbers.scales[g] = static_cast<int8_t>(scales.number[r]);
    numbers.minimums[g] = static_cast<int8_t>(scales.minimum_number[r]);
    for (uint32_t k = 0; k < size_; ++k) {
      numbers.codes[order[k] % format_.elements] = panel_.codes[(at + k) * kFeedbackRows + r];
      if (rule_.scale.kind == ScaleKind::kE4M3 && std::abs(x[order[k]]) > kLargestUnderE4M3)
        numbers.scales[g] = kBeyondE4M3;
    }
    if (format_.codebook == nullptr || format_.codebook->granule == 0) return;
    const uint32_t granules = size_ / format_.codebook->granule, octets = size_ / 8;
    std::copy_n(Entries(at, r), granules, numbers.entries.begin() + g * granules);
    std::copy_n(Turned(at, r), octets, numbers.signs.begin() + g * octets);
  }

  const BlockFormat& format_;
  const StoredRule rule_;
  const Rounding rounding_;
  const uint32_t size_;  ///< of a group
  const InputFactor& factor_;
  const uint64_t columns_;
  FeedbackPanel panel_;
  const uint64_t groups_;  ///< of a block
  GroupFactor group_factor_;
  FeedbackGroup group_;
  Wish wishes_[kMaxBlockGroups];                ///< of a block's groups
  alignas(64) Row targets_[kMaxBlockElements];  ///< of a block
};

template <class Rounding>
void EncodeRowsWithFeedback(const BlockFormat& format, const InputFactor& factor, uint64_t rows,
                            const float* x, uint8_t* out) {
  const uint64_t columns = factor.columns();
  const auto encoder = std::make_unique<FeedbackEncoder<Rounding>>(format, factor);
  for (uint64_t row = 0; row < rows; row += kFeedbackRows) {
    encoder->Encode(std::min<uint64_t>(kFeedbackRows, rows - row), x + row * columns,
                    out + row * (columns / format.elements) * format.bytes);
  }
}

void EncodeWithFeedback(const BlockFormat& format, const InputFactor& factor, uint64_t rows,
                        const float* x, uint8_t* out) {
  if (format.codebook == nullptr) {
    EncodeRowsWithFeedback<ElementRounding<LinearCodes>>(format, factor, rows, x, out);
  } else if (format.codebook->granule == 0) {
    EncodeRowsWithFeedback<ElementRounding<LevelCodes>>(format, factor, rows, x, out);
  } else {
    EncodeRowsWithFeedback<GranuleRounding>(format, factor, rows, x, out);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace smelt
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace smelt {

HWY_EXPORT(EncodeWithFeedback);

void EncodeWithFeedback(const BlockFormat& format, const InputFactor& factor, uint64_t rows,
                        const float* x, uint8_t* out) {
  HWY_DYNAMIC_DISPATCH(EncodeWithFeedback)(format, factor, rows, x, out);
}

}  // namespace smelt
#endif  // HWY_ONCE
