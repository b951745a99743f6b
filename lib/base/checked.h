// Arithmetic on sizes and conversions of numbers that come from files: every overflow is seen.
#pragma once

#include <cmath>
#include <concepts>
#include <cstdint>
#include <limits>
#include <optional>

namespace smelt {

inline std::optional<uint64_t> CheckedAdd(uint64_t a, uint64_t b) {
  uint64_t r;
  if (__builtin_add_overflow(a, b, &r)) return std::nullopt;
  return r;
}

inline std::optional<uint64_t> CheckedMul(uint64_t a, uint64_t b) {
  uint64_t r;
  if (__builtin_mul_overflow(a, b, &r)) return std::nullopt;
  return r;
}

/// The next multiple of `alignment` (> 0).
inline std::optional<uint64_t> CheckedAlign(uint64_t value, uint64_t alignment) {
  const uint64_t rest = value % alignment;
  return rest == 0 ? std::optional<uint64_t>(value) : CheckedAdd(value, alignment - rest);
}

/// The same number as an integer; nullopt for fractions, what is out of the type's range, NaN.
template <std::integral T>
std::optional<T> CheckedInteger(double value) {
  const double end = std::ldexp(1.0, std::numeric_limits<T>::digits);  // the first beyond; exact
  const double low = std::signed_integral<T> ? -end : 0.0;
  if (!(value >= low && value < end) || std::trunc(value) != value) return std::nullopt;
  return static_cast<T>(value);
}

/// The nearest f32; nullopt where f32 overflows, or underflows to 0.
inline std::optional<float> CheckedFloat(double value) {
  if (!(std::abs(value) <= std::numeric_limits<float>::max())) return std::nullopt;
  const float nearest = static_cast<float>(value);
  if (nearest == 0 && value != 0) return std::nullopt;
  return nearest;
}

}  // namespace smelt
