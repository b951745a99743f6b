// Figures as people read them.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace smelt::tools {

std::string Bytes(uint64_t bytes);      ///< "770 MB" (powers of 1000)
std::string Mebibytes(uint64_t bytes);  ///< "212 MiB"
std::string Count(uint64_t n);          ///< "1.24 B", "135 M"
std::string Duration(double seconds);   ///< "0.4 s", "31 s", "2 m 5 s"
std::string Fixed(double value, int decimals);
std::string Significant(double value, int digits);  ///< never an exponent for ordinary figures
/// "10.02 ± 0.42": so many digits of the value, half as many of its error.
std::string PlusMinus(double value, double error, int digits);
std::string ShapeText(std::span<const uint64_t> extents);  ///< "256 x 606"; "scalar" without any

/// Columns that a terminal shows it in: two for East Asian characters and emoji, none for marks.
size_t Columns(std::string_view text);
/// `text` with spaces to `width` columns.
std::string Left(std::string_view text, size_t width);
std::string Right(std::string_view text, size_t width);

/// True when the terminal's locale is UTF-8.
bool Utf8Locale();

/// One line, safe for a terminal: control characters, and those that turn the direction of what
/// follows, become '?'; cut to `limit` bytes.
std::string OneLine(std::string_view text, size_t limit);

}  // namespace smelt::tools
