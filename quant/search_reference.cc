// The search, one value after the other. search.cc must make the same bytes.
#include <algorithm>
#include <cmath>

#include "lib/base/float16.h"
#include "quant/search.h"

namespace smelt {
namespace {

constexpr uint32_t kMaxGroup = 32;

float Clamp(float v, int low, int high) {
  return std::min(std::max(v, static_cast<float>(low)), static_cast<float>(high));
}

/// Round half to even.
float Round(float v) { return std::nearbyint(v); }

struct Fit {
  float scale = 0, minimum = 0;
};

/// Scale of codes around zero. Values are taken relative to the one of largest magnitude.
Fit FitSymmetric(const BlockFormat& f, const SearchDepth& depth, const float* x, const float* w) {
  float largest = 0;
  for (uint32_t j = 0; j < f.group; ++j) {
    if (std::abs(x[j]) > std::abs(largest)) largest = x[j];
  }
  if (!(std::abs(largest) > kTiny)) return {};
  if (!f.searched) return {std::abs(largest) / static_cast<float>(f.code_max), 0};
  const float inverse = 1.0f / largest;
  float y[kMaxGroup];
  for (uint32_t j = 0; j < f.group; ++j) y[j] = x[j] * inverse;

  // For codes q the best scale is xq / qq, and the error falls by xq^2 / qq.
  float best_xq = 0, best_qq = 1;
  auto attempt = [&](float factor) {
    float xq = 0, qq = 0;
    for (uint32_t j = 0; j < f.group; ++j) {
      const float q = Clamp(Round(y[j] * factor), f.code_min, f.code_max);
      const float wq = w[j] * q;
      xq += wq * y[j];
      qq += wq * q;
    }
    if ((xq * xq) * best_qq > (best_xq * best_xq) * qq) {
      best_xq = xq;
      best_qq = qq;
    }
  };
  for (const float offset : kCandidateOffsets) attempt(static_cast<float>(f.code_min) - offset);
  for (int i = 0; i < depth.refinements && best_xq != 0; ++i) attempt(best_qq / best_xq);
  return {largest * (best_xq / best_qq), 0};
}

/// Scale and minimum of codes from zero on. Values are taken relative to the range.
Fit FitWithMinimum(const BlockFormat& f, const SearchDepth& depth, const float* x, const float* w) {
  float low = x[0], high = x[0];
  for (uint32_t j = 1; j < f.group; ++j) {
    low = std::min(low, x[j]);
    high = std::max(high, x[j]);
  }
  // A super-block subtracts its minimum: it cannot lift values above zero.
  if (f.super_block()) low = std::min(low, 0.0f);
  const float range = high - low;
  if (range > kBeyondAll) return {kBeyondAll, 0};
  if (!(range > kTiny)) return {0, -low};
  const float inverse = 1.0f / range;
  const float bound = f.super_block() ? -low * inverse : kHuge;
  float y[kMaxGroup];
  float sum_w = 0, sum_y = 0;
  for (uint32_t j = 0; j < f.group; ++j) {
    y[j] = (x[j] - low) * inverse;
    sum_w += w[j];
    sum_y += w[j] * y[j];
  }

  float best_error = kHuge, best_d = 0, best_m = 0;
  auto attempt = [&](float factor, float offset) {
    float q1 = 0, qq = 0, yq = 0;
    for (uint32_t j = 0; j < f.group; ++j) {
      const float q = Clamp(Round((y[j] - offset) * factor), 0, f.code_max);
      const float wq = w[j] * q;
      q1 += wq;
      qq += wq * q;
      yq += wq * y[j];
    }
    if (!(qq > 0)) return;
    const float determinant = sum_w * qq - q1 * q1;
    float m = offset;
    float d = (yq - m * q1) / qq;
    if (determinant > kSingular * (sum_w * qq)) {
      d = (sum_w * yq - q1 * sum_y) / determinant;
      m = (qq * sum_y - q1 * yq) / determinant;
      if (m > bound) {
        m = bound;
        d = (yq - m * q1) / qq;
      }
    }
    const float error = d * ((d * qq - 2 * yq) + 2 * (m * q1)) + m * (m * sum_w - 2 * sum_y);
    if (error < best_error) {
      best_error = error;
      best_d = d;
      best_m = m;
    }
  };
  for (const float offset : kCandidateOffsets) attempt(static_cast<float>(f.code_max) + offset, 0);
  for (int i = 0; i < depth.refinements && best_d > 0; ++i) attempt(1.0f / best_d, best_m);
  return {range * best_d, -(low + range * best_m)};
}

/// The stored scale and minimum of a group, as codes are computed from them.
struct GroupScale {
  float d = 0, m = 0, inverse = 0;
};

GroupScale MakeGroupScale(float d, float m) {
  // Scales that are no numbers are reported by Validate; the codes are then zeros.
  if (!std::isfinite(d) || !std::isfinite(m)) return {};
  return {d, m, d == 0 ? 0.0f : 1.0f / d};
}

float Code(const BlockFormat& f, float x, const GroupScale& s) {
  return Clamp(Round((x + s.m) * s.inverse), f.code_min, f.code_max);
}

float GroupError(const BlockFormat& f, const float* x, const float* w, const GroupScale& s,
                 float* sum_q) {
  float error = 0, q1 = 0;
  for (uint32_t j = 0; j < f.group; ++j) {
    const float q = Code(f, x[j], s);
    const float e = (x[j] + s.m) - s.d * q;
    error += w[j] * (e * e);
    q1 += w[j] * q;
  }
  *sum_q = q1;
  return error;
}

/// Integer scale and minimum of a group: what rounding gives, or a neighbour that does better.
void ChooseIntegers(const BlockFormat& f, const float* x, const float* w, const Fit& fit,
                    const SuperScale& super, int8_t* scale, int8_t* minimum, float* error) {
  float sum_w = 0, sum_x = 0;
  for (uint32_t j = 0; j < f.group; ++j) {
    sum_w += w[j];
    sum_x += w[j] * x[j];
  }
  const float s0 = Clamp(Round(fit.scale * super.inverse_scale), f.scale_min, f.scale_max);
  const float k0 = Clamp(Round(fit.minimum * super.inverse_minimum), 0, f.scale_max);
  float best_s = s0, best_k = k0, best_error = INFINITY;
  auto attempt = [&](float s, float k) {
    float sum_q;
    const GroupScale group = MakeGroupScale(super.scale * s, super.minimum * k);
    const float e = GroupError(f, x, w, group, &sum_q);
    if (e < best_error) {
      best_error = e;
      best_s = s;
      best_k = k;
    }
    return group.d * sum_q;
  };
  for (int step = -1; step <= 1; ++step) {
    const float s = Clamp(s0 + static_cast<float>(step), f.scale_min, f.scale_max);
    const float sum_dq = attempt(s, k0);
    if (!f.minimum) continue;
    const float wish = (sum_dq - sum_x) / sum_w;
    attempt(s, Clamp(Round(wish * super.inverse_minimum), 0, f.scale_max));
  }
  *scale = static_cast<int8_t>(best_s);
  *minimum = static_cast<int8_t>(best_k);
  *error = best_error;
}

GroupSums SumGroup(const BlockFormat& f, const float* x, const float* w, const GroupScale& s) {
  GroupSums sums{0, 0, 0, 0, 0};
  for (uint32_t j = 0; j < f.group; ++j) {
    const float q = Code(f, x[j], s);
    const float wq = w[j] * q;
    sums.qq += wq * q;
    sums.q += wq;
    sums.xq += wq * x[j];
    sums.x += w[j] * x[j];
    sums.w += w[j];
  }
  return sums;
}

void StoreCodes(const BlockFormat& f, const float* x, const GroupScale& s, int8_t* codes) {
  for (uint32_t j = 0; j < f.group; ++j) codes[j] = static_cast<int8_t>(Code(f, x[j], s));
}

/// A super-scale and the integers of each group under it.
struct Integers {
  SuperScale super;
  std::array<int8_t, kMaxBlockGroups> scales{}, minimums{};
  float error = 0;

  GroupScale ScaleOf(uint32_t g) const {
    return MakeGroupScale(super.scale * scales[g], super.minimum * minimums[g]);
  }
};

void EncodeSuperBlock(const BlockFormat& f, const SearchDepth& depth, const float* x,
                      const float* w, const Fit* fits, BlockNumbers* numbers) {
  const uint32_t groups = f.groups();
  float scales[kMaxBlockGroups] = {}, minimums[kMaxBlockGroups] = {};
  for (uint32_t g = 0; g < groups; ++g) {
    scales[g] = fits[g].scale;
    minimums[g] = fits[g].minimum;
  }
  Integers best;
  best.super = FirstSuperScale(f, scales, minimums);
  for (int round = 0; round < depth.rounds; ++round) {
    Integers trial;
    trial.super = best.super;
    GroupSums sums[kMaxBlockGroups];
    for (uint32_t g = 0; g < groups; ++g) {
      const uint32_t first = g * f.group;
      float error;
      ChooseIntegers(f, x + first, w + first, fits[g], trial.super, &trial.scales[g],
                     &trial.minimums[g], &error);
      trial.error += error;
      sums[g] = SumGroup(f, x + first, w + first, trial.ScaleOf(g));
    }
    if (round > 0 && !(trial.error < best.error)) break;
    best = trial;
    if (!FitSuperScale(f, sums, trial.scales.data(), trial.minimums.data(), &trial.super)) break;
    trial.error = 0;
    for (uint32_t g = 0; g < groups; ++g) {
      float unused;
      const uint32_t first = g * f.group;
      trial.error += GroupError(f, x + first, w + first, trial.ScaleOf(g), &unused);
    }
    if (!(trial.error < best.error)) break;
    best = trial;
  }
  numbers->d = best.super.d;
  numbers->m = best.super.m;
  numbers->scales = best.scales;
  numbers->minimums = best.minimums;
  for (uint32_t g = 0; g < groups; ++g)
    StoreCodes(f, x + g * f.group, best.ScaleOf(g), numbers->codes.data() + g * f.group);
}

}  // namespace

void EncodeBlockReference(const BlockFormat& f, const SearchDepth& depth, const float* x,
                          const float* w, BlockNumbers* numbers) {
  Fit fits[kMaxBlockGroups];
  for (uint32_t g = 0; g < f.groups(); ++g) {
    const uint32_t first = g * f.group;
    fits[g] = f.minimum ? FitWithMinimum(f, depth, x + first, w + first)
                        : FitSymmetric(f, depth, x + first, w + first);
  }
  if (f.super_block()) {
    EncodeSuperBlock(f, depth, x, w, fits, numbers);
    return;
  }
  const SuperScale scale = SimpleScale(f, fits[0].scale, fits[0].minimum);
  numbers->d = scale.d;
  // Which of two zeros the least value is depends on the instructions: the positive one is stored.
  numbers->m = F32ToF16(0.0f - fits[0].minimum);
  StoreCodes(f, x, MakeGroupScale(scale.scale, scale.minimum), numbers->codes.data());
}

}  // namespace smelt
