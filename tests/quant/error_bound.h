// How far decoded values may be from what was encoded, from the definitions of the formats alone.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "lib/base/tensor_type.h"

namespace smelt {

/// The numbers of a format that can be written.
struct FormatSteps {
  TensorType type;
  int elements, group;
  bool minimum;
  int steps;     ///< from zero (or the minimum) to the largest value on either side
  int integers;  ///< of a super-block's sub-scales; 0 in a simple block
};

inline constexpr std::array<FormatSteps, 10> kFormatSteps = {{
    {TensorType::kQ4_0, 32, 32, false, 7, 0},
    {TensorType::kQ5_0, 32, 32, false, 15, 0},
    {TensorType::kQ8_0, 32, 32, false, 127, 0},
    {TensorType::kQ4_1, 32, 32, true, 15, 0},
    {TensorType::kQ5_1, 32, 32, true, 31, 0},
    {TensorType::kQ2_K, 256, 16, true, 3, 15},
    {TensorType::kQ4_K, 256, 32, true, 15, 63},
    {TensorType::kQ5_K, 256, 32, true, 31, 63},
    {TensorType::kQ3_K, 256, 16, false, 3, 31},
    {TensorType::kQ6_K, 256, 16, false, 31, 127},
}};

inline const FormatSteps* FindFormatSteps(TensorType type) {
  for (const FormatSteps& f : kFormatSteps)
    if (f.type == type) return &f;
  return nullptr;
}

inline constexpr double kLeastF16 = 0x1p-24;

/// Distance of neighbouring halves at `v`.
inline double F16Spacing(double v) {
  const int exponent = v == 0 ? -14 : std::max(-14, std::ilogb(v));
  return std::ldexp(1.0, exponent - 10);
}

/// The same of F16 or BF16.
inline double Spacing(TensorType type, double v) {
  if (type == TensorType::kF16) return F16Spacing(v);
  const int exponent = v == 0 ? -126 : std::max(-126, std::ilogb(v));
  return std::ldexp(1.0, exponent - 7);
}

/// Largest value of each group, its range, and the step between codes that covers it.
struct GroupRange {
  double low = 0, size = 0, step = 0;
};

inline GroupRange RangeOf(const FormatSteps& f, const float* x) {
  GroupRange r;
  double high = x[0], largest = 0;
  r.low = x[0];
  for (int i = 0; i < f.group; ++i) {
    r.low = std::min<double>(r.low, x[i]);
    high = std::max<double>(high, x[i]);
    largest = std::max<double>(largest, std::abs(x[i]));
  }
  if (f.minimum && f.integers != 0) r.low = std::min(r.low, 0.0);
  r.size = largest;
  r.step = (f.minimum ? high - r.low : largest) / f.steps;
  return r;
}

/// Squared error (weighted by `w`) that a block may have: half a step for each value, and what the
/// rounding of the stored scales adds. A simple block rounds its scale to f16, a super-block each
/// group's to an integer times an f16, which no smaller than 2^-24 can be.
inline double AllowedError(const FormatSteps& f, const float* x, const float* w) {
  GroupRange groups[16];
  const int count = f.elements / f.group;
  double step = 0, low = 0;
  for (int g = 0; g < count; ++g) {
    groups[g] = RangeOf(f, x + g * f.group);
    step = std::max(step, groups[g].step);
    low = std::max(low, -groups[g].low);
  }
  double sum = 0;
  for (int g = 0; g < count; ++g) {
    double allowed;
    if (f.integers == 0) {
      const double own = std::max(groups[g].step, kLeastF16);
      allowed = own / 2 + std::min(own, f.steps * F16Spacing(own));
      if (f.minimum) allowed += F16Spacing(groups[g].size);
    } else {
      const double unit = std::max(step / f.integers, kLeastF16);
      allowed = groups[g].step / 2 + std::min(f.steps * unit, std::max(step, kLeastF16));
      if (f.minimum) allowed += std::max(low / f.integers, kLeastF16);
    }
    for (int i = 0; i < f.group; ++i) sum += w[g * f.group + i] * allowed * allowed;
  }
  return sum;
}

/// The squared error that the block has.
inline double ErrorOf(const FormatSteps& f, const float* x, const float* w, const float* decoded) {
  double sum = 0;
  for (int i = 0; i < f.elements; ++i) {
    const double e = static_cast<double>(decoded[i]) - x[i];
    sum += w[i] * e * e;
  }
  return sum;
}

}  // namespace smelt
