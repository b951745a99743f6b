#include "tools/numbers.h"

#include <algorithm>
#include <limits>

#include "tools/format.h"

namespace smelt::tools {

std::optional<uint64_t> ParseBytes(std::string_view text) {
  constexpr std::string_view kUnits = "KMGT";
  uint64_t unit = 1;
  if (!text.empty()) {
    const char last = static_cast<char>(text.back() & ~0x20);  // in capitals
    if (const size_t at = kUnits.find(last); at != std::string_view::npos) {
      for (size_t i = 0; i <= at; ++i) unit *= 1000;
      text.remove_suffix(1);
    }
  }
  if (unit > 1 && text.find('.') != std::string_view::npos) {
    const double bytes = ParseNumber<double>(text).value_or(0) * static_cast<double>(unit);
    if (bytes < 1 || bytes > 1e18) return std::nullopt;
    return static_cast<uint64_t>(std::llround(bytes));
  }
  const std::optional<uint64_t> count = ParseNumber<uint64_t>(text);
  if (!count || *count == 0 || *count > std::numeric_limits<uint64_t>::max() / unit)
    return std::nullopt;
  return *count * unit;
}

std::vector<std::string> CommaSeparated(const std::string& text) {
  std::vector<std::string> parts;
  for (size_t first = 0; first <= text.size();) {
    const size_t comma = std::min(text.find(',', first), text.size());
    parts.push_back(text.substr(first, comma - first));
    first = comma + 1;
  }
  return parts;
}

std::string NotAllowed(std::string_view text, std::string_view what) {
  return "\"" + OneLine(text, 40) + "\" is no " + std::string(what);
}

}  // namespace smelt::tools
