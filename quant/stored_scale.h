// The stored scales of formats with a codebook: from wishes to what bytes can hold, and back.
#pragma once

#include <cstdint>

#include "quant/codebook_format.h"

namespace smelt {

/// What a group of a super-block wishes: its scale, and how much a deviation from it costs.
struct ScaleWish {
  float scale;
  float curvature;  ///< weighted sum of squared codes
};

/// The half d of a super-block whose integers come nearest to what its groups wish. Infinite
/// where f16 cannot hold it.
uint16_t ChooseSuperScale(const ScaleRule& rule, int largest_code, const ScaleWish* wishes,
                          uint32_t groups);

/// The number that stands for a group of E4M3 whose values are beyond its largest scale: a NaN,
/// which Validate reports.
inline constexpr int kBeyondE4M3 = 127;
/// Values of which no E4M3 scale makes anything near: as far beyond 6 * 448 as halves may be.
inline constexpr float kLargestUnderE4M3 = 6 * 464.0f;

/// The stored number (integer or byte) whose scale is nearest to the wish.
int RoundScale(const ScaleRule& rule, float d, float wish);
/// The same, `step` further, at most the last there is.
int StepScale(const ScaleRule& rule, int stored, int step);
/// The scale that a stored number stands for.
float ScaleOf(const ScaleRule& rule, float d, int stored);

}  // namespace smelt
