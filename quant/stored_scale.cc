#include "quant/stored_scale.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "lib/base/float16.h"
#include "quant/fp4_scales.h"
#include "quant/search.h"

namespace smelt {
namespace {

/// Largest exponent byte with which every code is finite.
constexpr int kLargestE8M0 = 252;
/// The byte of 448; the next is a NaN.
constexpr int kLargestE4M3 = 126;

struct Range {
  int low, high;
};

Range StoredRange(const ScaleRule& rule) {
  if (rule.kind == ScaleKind::kE8M0) return {0, kLargestE8M0};
  if (rule.kind == ScaleKind::kE4M3) return {0, kLargestE4M3};
  return {rule.low, rule.high};
}

/// Stored integer nearest to `multiplier`.
int NearestInteger(const ScaleRule& rule, double multiplier) {
  const double s = std::nearbyint((multiplier - rule.offset) / rule.factor);
  return static_cast<int>(
      std::clamp(s, static_cast<double>(rule.low), static_cast<double>(rule.high)));
}

/// Byte of the scale nearest to `wish` among ascending ones.
int NearestByte(const ScaleRule& rule, float wish) {
  const Range range = StoredRange(rule);
  int low = range.low, high = range.high;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (ScaleOf(rule, 0, middle) < wish) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low == range.low) return low;
  return wish - ScaleOf(rule, 0, low - 1) < ScaleOf(rule, 0, low) - wish ? low - 1 : low;
}

}  // namespace

uint16_t ChooseSuperScale(const ScaleRule& rule, int largest_code, const ScaleWish* wishes,
                          uint32_t groups) {
  constexpr int kEnds = 16;
  double largest = 0;
  for (uint32_t g = 0; g < groups; ++g) {
    if (std::abs(wishes[g].scale) > std::abs(largest)) largest = wishes[g].scale;
  }
  if (largest == 0) return 0;
  const int low = rule.Multiplier(rule.low), high = rule.Multiplier(rule.high);
  const double end = low < 0 ? low : high;
  double best = largest / (end * rule.unit), best_error = INFINITY;
  for (int i = 0; i < kEnds; ++i) {
    // The largest wish at the end of the integers, a little beyond it, or further inside.
    double d = largest / (end * rule.unit * (1.04 - 0.03 * i));
    double mf = 0, mm = 0, ff = 0;
    for (uint32_t g = 0; g < groups; ++g) {
      const double m =
          rule.unit * rule.Multiplier(NearestInteger(rule, wishes[g].scale / (d * rule.unit)));
      const double curvature = wishes[g].curvature, f = wishes[g].scale;
      mf += curvature * m * f;
      mm += curvature * m * m;
      ff += curvature * f * f;
    }
    if (!(mm > 0)) continue;
    const double error = ff - mf * mf / mm;
    if (error < best_error && mf != 0) {
      best_error = error;
      best = mf / mm;
    }
  }
  return ScaleToF16(static_cast<float>(best), largest_code,
                    static_cast<int>(std::ceil(std::abs(end) * static_cast<double>(rule.unit))));
}

int RoundScale(const ScaleRule& rule, float d, float wish) {
  if (rule.kind != ScaleKind::kInteger) return NearestByte(rule, std::abs(wish));
  if (!std::isfinite(d) || d == 0) return NearestInteger(rule, 0);
  return NearestInteger(rule, static_cast<double>(wish) / (static_cast<double>(d) * rule.unit));
}

int StepScale(const ScaleRule& rule, int stored, int step) {
  const Range range = StoredRange(rule);
  return std::clamp(stored + step, range.low, range.high);
}

float ScaleOf(const ScaleRule& rule, float d, int stored) {
  if (rule.kind == ScaleKind::kE8M0) return HalfE8M0(static_cast<uint8_t>(stored));
  if (rule.kind == ScaleKind::kE4M3) return HalfE4M3(static_cast<uint8_t>(stored));
  return d * rule.unit * static_cast<float>(rule.Multiplier(stored));
}

}  // namespace smelt
