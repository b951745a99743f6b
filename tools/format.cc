#include "tools/format.h"

#include <strings.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>

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

size_t Columns(std::string_view text) {
  size_t n = 0;
  for (char c : text) n += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  return n;
}

}  // namespace

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
  for (char c : text) {
    const unsigned char u = static_cast<unsigned char>(c);
    out.push_back(u < 32 || u == 127 ? (c == '\n' ? ' ' : '?') : c);
  }
  if (out.size() <= limit) return out;
  size_t end = limit - 3;
  while (end > 0 && (static_cast<unsigned char>(out[end]) & 0xc0) == 0x80) --end;
  return out.substr(0, end) + "...";
}

}  // namespace smelt::tools
