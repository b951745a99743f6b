// What rounding with feedback knows of a group and of its stored scales.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "quant/block_format.h"
#include "quant/codebook_batch.h"
#include "quant/codebook_format.h"

namespace smelt {

/// Rows that are encoded side by side: the lanes of the widest vector.
inline constexpr size_t kFeedbackRows = kCodebookGroups;
/// A number of each.
using FeedbackLanes = float[kFeedbackRows];

/// The factor of one group: its error is sum over k of weights[k] (sum over j <= k of e_j A_jk)^2.
struct GroupFactor {
  uint32_t size = 0;
  std::vector<float> a;                    ///< A_jk at [k * size + j], j < k
  std::array<float, kMaxScaleGroup> ones;  ///< 1 + sum over j < k of A_jk
  const float* weights = nullptr;
  float constant = 0;  ///< the error of all ones

  /// `feedback`: A_jk at [j * stride + k].
  void Set(const float* feedback, uint64_t stride, const float* its_weights, uint32_t its_size);
};

/// Scale and minimum of a group per row, in units of the row, and how they are stored.
struct GroupScales {
  alignas(64) FeedbackLanes scale = {}, minimum = {};
  std::array<uint16_t, kFeedbackRows> half{}, half_minimum{};  ///< of simple blocks
  std::array<int16_t, kFeedbackRows> number{}, minimum_number{};

  /// Takes a row's from `other`.
  void Take(const GroupScales& other, size_t row) {
    scale[row] = other.scale[row];
    minimum[row] = other.minimum[row];
    half[row] = other.half[row];
    half_minimum[row] = other.half_minimum[row];
    number[row] = other.number[row];
    minimum_number[row] = other.minimum_number[row];
  }
};

/// The super-scales of a block per row.
struct BlockHalves {
  std::array<uint16_t, kFeedbackRows> scale{}, minimum{};
};

/// How a format stores scales, linear or not.
struct StoredRule {
  ScaleRule scale, minimum;
  bool has_minimum = false;
  int largest_code = 0;

  explicit StoredRule(const BlockFormat& format);
  bool super_block() const { return scale.kind == ScaleKind::kInteger; }

  /// What a group's wish becomes in each row, `step` stored scales further. Scales that are no
  /// numbers (Validate reports them) are taken as zeros.
  GroupScales Store(const float* scale, const float* minimum, const float* unit,
                    const BlockHalves& halves, int step) const;
};

}  // namespace smelt
