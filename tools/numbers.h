// Options that take a number: one parser for all of them.
#pragma once

#include <CLI/CLI.hpp>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace smelt::tools {

/// A number as people write it: decimal (010 is ten), finite. Nothing where the text is anything
/// else, or more than T holds.
template <typename T>
std::optional<T> ParseNumber(std::string_view text) {
  if (text.starts_with('+') && !text.starts_with("+-")) text.remove_prefix(1);
  T value{};
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end) return std::nullopt;
  if constexpr (std::is_floating_point_v<T>) {
    if (!std::isfinite(value)) return std::nullopt;
  }
  return value;
}

/// The type of a number that may be absent, or of one that may not.
template <typename T>
struct NumberOf {
  using type = T;
};
template <typename T>
struct NumberOf<std::optional<T>> {
  using type = T;
};

/// A size in bytes: "4G", "4.2G", "500M", "64K" (powers of 1000), "1000000". Nothing for another
/// text, for 0, and for more than 64 bits hold.
std::optional<uint64_t> ParseBytes(std::string_view text);

/// What a number may be, and the words for it behind "is no": "number from 1 to 4096".
template <typename T>
struct Allowed {
  std::string what;
  std::optional<T> low = {}, high = {};
};

/// The sentence about a value that is none of what is allowed.
std::string NotAllowed(std::string_view text, std::string_view what);

/// Adds an option that fills in `out`, a number or an optional one.
template <typename T>
CLI::Option* AddNumber(CLI::App& command, const std::string& name, T& out, const std::string& help,
                       const Allowed<typename NumberOf<T>::type>& allowed) {
  using Number = typename NumberOf<T>::type;
  const auto problem = [allowed](const std::string& text) {
    const std::optional<Number> n = ParseNumber<Number>(text);
    const bool good =
        n && !(allowed.low && *n < *allowed.low) && !(allowed.high && *n > *allowed.high);
    return good ? std::string() : NotAllowed(text, allowed.what);
  };
  return command
      .add_option_function<std::string>(
          name, [&out](const std::string& text) { out = *ParseNumber<Number>(text); }, help)
      ->type_name(std::is_integral_v<Number> ? "N" : "X")
      ->check(problem);
}

/// The parts of a text between commas.
std::vector<std::string> CommaSeparated(const std::string& text);

/// The same for one number or several: "1,2,4".
template <typename T>
CLI::Option* AddNumbers(CLI::App& command, const std::string& name, std::vector<T>& out,
                        const std::string& help, const Allowed<T>& allowed) {
  const auto problem = [allowed](const std::string& text) {
    for (const std::string& part : CommaSeparated(text)) {
      const std::optional<T> n = ParseNumber<T>(part);
      if (!n || (allowed.low && *n < *allowed.low) || (allowed.high && *n > *allowed.high))
        return NotAllowed(part, allowed.what);
    }
    return std::string();
  };
  const auto fill = [&out](const std::string& text) {
    out.clear();
    for (const std::string& part : CommaSeparated(text)) out.push_back(*ParseNumber<T>(part));
  };
  return command.add_option_function<std::string>(name, fill, help)
      ->type_name("N,...")
      ->check(problem);
}

}  // namespace smelt::tools
