// String concatenation that takes std::string_view (Debian's Abseil has its own string_view type,
// so StrCat does not).
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>

namespace smelt {
namespace internal {

void AppendTo(std::string& out, std::string_view part);
void AppendTo(std::string& out, int64_t value);
void AppendTo(std::string& out, uint64_t value);
void AppendTo(std::string& out, double value);  ///< shortest form that reads back the same

template <typename T>
void AppendPart(std::string& out, const T& part) {
  if constexpr (std::is_same_v<T, char>) {
    out.push_back(part);
  } else if constexpr (std::is_same_v<T, bool>) {
    AppendTo(out, std::string_view(part ? "true" : "false"));
  } else if constexpr (std::signed_integral<T>) {
    AppendTo(out, static_cast<int64_t>(part));
  } else if constexpr (std::unsigned_integral<T>) {
    AppendTo(out, static_cast<uint64_t>(part));
  } else if constexpr (std::floating_point<T>) {
    AppendTo(out, static_cast<double>(part));
  } else {
    AppendTo(out, std::string_view(part));
  }
}

}  // namespace internal

/// The parts one after the other: strings, integers, floating point, char, bool.
template <typename... Parts>
std::string Cat(const Parts&... parts) {
  std::string out;
  (internal::AppendPart(out, parts), ...);
  return out;
}

/// Text from a file made safe for a terminal and a message: control characters, invalid UTF-8,
/// quotes and backslashes escaped (\n, \x1b, \u202e ...), cut to `limit` bytes with "..." in the
/// middle.
std::string Escape(std::string_view text, size_t limit = 100);

}  // namespace smelt
