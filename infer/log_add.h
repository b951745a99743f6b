#pragma once

#include <algorithm>
#include <cmath>

namespace smelt {

/// ln(e^a + e^b), where b may be -infinity.
inline double LogAdd(double a, double b) {
  return std::isinf(b) && b < 0 ? a : std::max(a, b) + std::log1p(std::exp(-std::fabs(a - b)));
}

}  // namespace smelt
