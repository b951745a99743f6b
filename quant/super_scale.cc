#include <algorithm>
#include <cmath>

#include "lib/base/float16.h"
#include "quant/search.h"

namespace smelt {

uint16_t ScaleToF16(float wish, int codes, int integers) {
  const uint16_t nearest = F32ToF16(wish);
  const float size = std::abs(wish), stored = std::abs(F16ToF32(nearest));
  const bool too_small = stored > 0 ? (size - stored) * static_cast<float>(codes) > stored
                                    : size * static_cast<float>(codes * integers) > kLeastScale / 2;
  return too_small ? static_cast<uint16_t>(nearest + 1) : nearest;
}

namespace {

int LargestCode(const BlockFormat& format) { return std::max(format.code_max, -format.code_min); }

SuperScale FromHalves(uint16_t d, uint16_t m) {
  SuperScale s;
  s.d = d;
  s.m = m;
  s.scale = F16ToF32(s.d);
  s.minimum = F16ToF32(s.m);
  if (std::isfinite(s.scale) && s.scale != 0) s.inverse_scale = 1.0f / s.scale;
  if (std::isfinite(s.minimum) && s.minimum != 0) s.inverse_minimum = 1.0f / s.minimum;
  return s;
}

}  // namespace

SuperScale SimpleScale(const BlockFormat& format, float scale, float minimum) {
  return FromHalves(ScaleToF16(scale, LargestCode(format), 1), F32ToF16(minimum));
}

SuperScale FirstSuperScale(const BlockFormat& format, const float* scales, const float* minimums) {
  float largest = 0, minimum = 0;
  for (uint32_t g = 0; g < format.groups(); ++g) {
    if (std::abs(scales[g]) > std::abs(largest)) largest = scales[g];
    if (format.minimum) minimum = std::max(minimum, minimums[g]);
  }
  // Signed integers reach one step further below zero.
  const int end = format.scale_min < 0 ? format.scale_min : format.scale_max;
  return FromHalves(
      ScaleToF16(largest / static_cast<float>(end), LargestCode(format), std::abs(end)),
      ScaleToF16(minimum / static_cast<float>(format.scale_max), format.scale_max, 1));
}

bool FitSuperScale(const BlockFormat& format, const GroupSums* sums, const int8_t* scales,
                   const int8_t* minimums, SuperScale* out) {
  // value = d a - m b with a = scale * code, b = integer minimum.
  double aa = 0, ab = 0, bb = 0, xa = 0, xb = 0;
  for (uint32_t g = 0; g < format.groups(); ++g) {
    const double s = scales[g];
    const double k = format.minimum ? minimums[g] : 0;
    aa += s * s * sums[g].qq;
    ab += s * k * sums[g].q;
    bb += k * k * sums[g].w;
    xa += s * sums[g].xq;
    xb += k * sums[g].x;
  }
  if (!(aa > 0)) return false;
  double d = xa / aa, m = 0;
  const double determinant = aa * bb - ab * ab;
  if (bb > 0 && determinant > kSingular * aa * bb) {
    m = (ab * xa - aa * xb) / determinant;
    if (m > 0) {
      d = (bb * xa - ab * xb) / determinant;
    } else {
      m = 0;
    }
  }
  if (!std::isfinite(d) || !std::isfinite(m)) return false;
  *out = FromHalves(F32ToF16(static_cast<float>(d)), F32ToF16(static_cast<float>(m)));
  return true;
}

}  // namespace smelt
