#include "tools/format.h"

#include <strings.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <iterator>

namespace smelt::tools {
namespace {

std::string Print(const char* format, double value, const char* unit) {
  char text[64];
  std::snprintf(text, sizeof(text), format, value, unit);
  return text;
}

// Three significant digits below 1000.
std::string Scaled(double value, const char* unit) {
  return Print(value >= 100 ? "%.0f %s" : value >= 10 ? "%.1f %s" : "%.2f %s", value, unit);
}

struct Range {
  char32_t first, last;
};

template <size_t N>
bool In(const Range (&ranges)[N], char32_t c) {
  return std::any_of(std::begin(ranges), std::end(ranges),
                     [c](const Range& r) { return c >= r.first && c <= r.last; });
}

constexpr Range kWide[] = {
    {0x1100, 0x115f},   {0x2e80, 0x303e},   {0x3041, 0xa4cf},  {0xa960, 0xa97f}, {0xac00, 0xd7a3},
    {0xf900, 0xfaff},   {0xfe30, 0xfe6f},   {0xff00, 0xff60},  {0xffe0, 0xffe6}, {0x1f300, 0x1f64f},
    {0x1f680, 0x1f6ff}, {0x1f900, 0x1f9ff}, {0x20000, 0x3fffd}};
constexpr Range kNoWidth[] = {{0x0300, 0x036f}, {0x0483, 0x0489}, {0x0591, 0x05bd},
                              {0x064b, 0x065f}, {0x0e34, 0x0e3a}, {0x0e47, 0x0e4e},
                              {0x1ab0, 0x1aff}, {0x1dc0, 0x1dff}, {0x200b, 0x200f},
                              {0x20d0, 0x20ff}, {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f}};
constexpr Range kUnsafe[] = {{0, 0x1f},        {0x7f, 0x9f},     {0x061c, 0x061c}, {0x200b, 0x200f},
                             {0x2028, 0x202e}, {0x2060, 0x206f}, {0xfeff, 0xfeff}};

// The character that begins `text`, and its bytes. A byte that begins none stands for itself.
char32_t First(std::string_view text, size_t& bytes) {
  const unsigned char lead = static_cast<unsigned char>(text[0]);
  bytes = lead < 0xc2 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 1;
  char32_t c = bytes == 1 ? lead : lead & (0x7fu >> bytes);
  for (size_t i = 1; i < bytes; ++i) {
    if (i >= text.size() || (static_cast<unsigned char>(text[i]) & 0xc0) != 0x80) {
      bytes = 1;
      return 0xfffd;
    }
    c = c << 6 | (static_cast<unsigned char>(text[i]) & 0x3f);
  }
  return bytes == 1 && c >= 0x80 ? 0xfffd : c;
}

}  // namespace

size_t Columns(std::string_view text) {
  size_t columns = 0;
  for (size_t bytes = 0; !text.empty(); text.remove_prefix(bytes)) {
    const char32_t c = First(text, bytes);
    columns += In(kNoWidth, c) ? 0 : In(kWide, c) ? 2 : 1;
  }
  return columns;
}

std::string Bytes(uint64_t bytes) {
  const double b = static_cast<double>(bytes);
  if (b >= 1e9) return Scaled(b / 1e9, "GB");
  if (b >= 1e6) return Scaled(b / 1e6, "MB");
  if (b >= 1e3) return Scaled(b / 1e3, "kB");
  return Print("%.0f %s", b, "bytes");
}

std::string Mebibytes(uint64_t bytes) {
  return Print("%.0f %s", static_cast<double>(bytes) / 1048576, "MiB");
}

std::string Count(uint64_t n) {
  const double v = static_cast<double>(n);
  if (v >= 1e12) return Scaled(v / 1e12, "T");
  if (v >= 1e9) return Scaled(v / 1e9, "B");
  if (v >= 1e6) return Scaled(v / 1e6, "M");
  if (v >= 1e3) return Scaled(v / 1e3, "K");
  return Print("%.0f%s", v, "");
}

std::string Duration(double seconds) {
  if (seconds < 10) return Print("%.1f %s", seconds, "s");
  if (seconds < 120) return Print("%.0f %s", seconds, "s");
  const long long whole = std::llround(seconds);
  char text[64];
  if (whole < 7200) {
    std::snprintf(text, sizeof(text), "%lld m %lld s", whole / 60, whole % 60);
  } else {
    std::snprintf(text, sizeof(text), "%lld h %lld m", whole / 3600, whole / 60 % 60);
  }
  return text;
}

std::string Fixed(double value, int decimals) {
  char text[64];
  std::snprintf(text, sizeof(text), "%.*f", decimals, value);
  return text;
}

std::string Significant(double value, int digits) {
  if (!std::isfinite(value) || value == 0) return Print("%g%s", value, "");
  const int magnitude = static_cast<int>(std::floor(std::log10(std::fabs(value))));
  if (magnitude < -6 || magnitude > 12) return Print("%.3g%s", value, "");
  return Fixed(value, std::max(0, digits - 1 - magnitude));
}

std::string PlusMinus(double value, double error, int digits) {
  return Significant(value, digits) + (Utf8Locale() ? " ± " : " +/- ") +
         Significant(error, digits / 2);
}

std::string ShapeText(std::span<const uint64_t> extents) {
  std::string text;
  for (const uint64_t extent : extents)
    text += (text.empty() ? "" : " x ") + std::to_string(extent);
  return text.empty() ? "scalar" : text;
}

std::string Left(std::string_view text, size_t width) {
  std::string out(text);
  const size_t columns = Columns(text);
  if (columns < width) out.append(width - columns, ' ');
  return out;
}

std::string Right(std::string_view text, size_t width) {
  const size_t columns = Columns(text);
  return std::string(columns < width ? width - columns : 0, ' ') + std::string(text);
}

bool Utf8Locale() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* value = std::getenv(name);
    if (value == nullptr || *value == 0) continue;
    const std::string_view text(value);
    for (size_t i = 0; i + 4 < text.size() + 1; ++i) {
      if (strncasecmp(value + i, "utf-8", 5) == 0 || strncasecmp(value + i, "utf8", 4) == 0)
        return true;
    }
    return false;
  }
  return false;
}

std::string OneLine(std::string_view text, size_t limit) {
  std::string out;
  for (size_t bytes = 0; !text.empty(); text.remove_prefix(bytes)) {
    const char32_t c = First(text, bytes);
    out += In(kUnsafe, c) ? (c == '\n' ? " " : "?") : text.substr(0, bytes);
  }
  if (out.size() <= limit) return out;
  size_t end = limit - 3;
  while (end > 0 && (static_cast<unsigned char>(out[end]) & 0xc0) == 0x80) --end;
  return out.substr(0, end) + "...";
}

}  // namespace smelt::tools
