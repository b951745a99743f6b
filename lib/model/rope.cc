#include "lib/model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace smelt {
namespace {

/// The dimension that makes `rotations` turns over the original context.
double CorrectionDim(const RopeParameters& p, double rotations) {
  return p.dims * std::log(p.original_context / (rotations * 2 * std::numbers::pi)) /
         (2 * std::log(p.base));
}

/// Share of extrapolation (1 = the frequency as it is) of every pair.
std::vector<double> YarnRamp(const RopeParameters& p) {
  double low = CorrectionDim(p, p.beta_fast), high = CorrectionDim(p, p.beta_slow);
  if (p.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, p.dims - 1.0);
  if (low == high) high += 0.001;
  std::vector<double> share(p.dims / 2);
  for (size_t j = 0; j < share.size(); ++j) {
    share[j] = 1 - std::clamp((static_cast<double>(j) - low) / (high - low), 0.0, 1.0);
  }
  return share;
}

}  // namespace

double YarnMagnitude(double scale, double m) {
  return scale <= 1 ? 1.0 : 0.1 * m * std::log(scale) + 1.0;
}

Rope MakeRope(const RopeParameters& p) {
  Rope rope;
  rope.style = p.style;
  rope.dims = p.dims;
  rope.magnitude = p.magnitude;
  rope.long_magnitude = p.long_magnitude != 0 ? p.long_magnitude : p.magnitude;
  const std::vector<double> share =
      p.scaling == RopeScaling::kYarn ? YarnRamp(p) : std::vector<double>();
  for (uint32_t j = 0; j < p.dims / 2; ++j) {
    double frequency = std::pow(p.base, -2.0 * j / p.dims);
    if (p.scaling == RopeScaling::kLinear) frequency /= p.factor;
    if (p.scaling == RopeScaling::kYarn) frequency *= (1 - share[j]) / p.factor + share[j];
    rope.frequency.push_back(p.factors.empty() ? frequency : frequency / p.factors[j]);
    if (!p.long_factors.empty()) rope.long_frequency.push_back(frequency / p.long_factors[j]);
  }
  if (!p.long_factors.empty()) rope.long_from = p.long_from;
  rope.base = p.base;
  rope.dynamic_factor = p.dynamic_factor;
  rope.dynamic_from = p.dynamic_from;
  return rope;
}

bool Rope::ChangesBetween(uint64_t before, uint64_t after) const {
  if ((before > long_from) != (after > long_from)) return true;
  return dynamic_factor != 0 && after > dynamic_from;
}

std::vector<double> Rope::FrequencyAt(uint64_t length) const {
  if (length > long_from) return long_frequency;
  if (dynamic_factor == 0 || length <= dynamic_from) return frequency;
  // transformers' _compute_dynamic_ntk_parameters.
  const double share = static_cast<double>(length) / static_cast<double>(dynamic_from);
  const double stretched =
      base * std::pow(dynamic_factor * share - (dynamic_factor - 1), dims / (dims - 2.0));
  std::vector<double> stretched_frequency;
  for (uint32_t j = 0; j < dims / 2; ++j)
    stretched_frequency.push_back(std::pow(stretched, -2.0 * j / dims));
  return stretched_frequency;
}

std::vector<float> Llama3Factors(uint32_t dims, double base, double factor, double low_freq_factor,
                                 double high_freq_factor, double original_context) {
  std::vector<float> factors;
  for (uint32_t j = 0; j < dims / 2; ++j) {
    const double wavelength = 2 * std::numbers::pi * std::pow(base, 2.0 * j / dims);
    if (wavelength < original_context / high_freq_factor) {
      factors.push_back(1);
    } else if (wavelength > original_context / low_freq_factor) {
      factors.push_back(static_cast<float>(factor));
    } else {
      const double smooth =
          (original_context / wavelength - low_freq_factor) / (high_freq_factor - low_freq_factor);
      factors.push_back(static_cast<float>(1 / ((1 - smooth) / factor + smooth)));
    }
  }
  return factors;
}

}  // namespace smelt
