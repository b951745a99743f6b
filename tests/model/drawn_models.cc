#include "tests/model/drawn_models.h"

#include <algorithm>

namespace smelt::testing {

Experts DrawExperts(Maker& m, size_t count, size_t used, Experts::Weights weights, size_t ffn) {
  Experts experts;
  experts.router = m.Linear(count, m.width);
  experts.used = used;
  experts.weights = weights;
  for (size_t e = 0; e < count; ++e) experts.each.push_back(m.Gated("silu", ffn));
  return experts;
}

std::vector<double> Llama3Divisors(size_t dims, double theta, double factor, double low,
                                   double high, double original) {
  std::vector<double> divisors;
  for (size_t j = 0; j < dims / 2; ++j) {
    const double turns = original / (2 * M_PI * std::pow(theta, 2.0 * j / dims));
    const double share = std::clamp((turns - low) / (high - low), 0.0, 1.0);
    divisors.push_back(1 / (share + (1 - share) / factor));
  }
  return divisors;
}

std::vector<double> YarnDivisors(size_t dims, double theta, double factor, double fast, double slow,
                                 double original, bool truncate) {
  const auto dimension = [&](double rotations) {
    return dims * std::log(original / (rotations * 2 * M_PI)) / (2 * std::log(theta));
  };
  double low = dimension(fast), high = dimension(slow);
  if (truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0);
  high = std::min(high, dims - 1.0);
  std::vector<double> divisors;
  for (size_t j = 0; j < dims / 2; ++j) {
    const double share = std::clamp((j - low) / std::max(high - low, 0.001), 0.0, 1.0);
    divisors.push_back(1 / (share / factor + 1 - share));
  }
  return divisors;
}

}  // namespace smelt::testing
