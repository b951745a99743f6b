// Several names or values of one thing, written "a|b|c" in the tables.
#pragma once

#include <algorithm>
#include <string_view>
#include <vector>

#include "lib/base/ascii.h"

namespace smelt {

/// One after the other; at least one.
inline std::vector<std::string_view> Alternatives(std::string_view list) {
  return SplitAt(list, '|');
}

inline bool IsAlternative(std::string_view list, std::string_view one) {
  const std::vector<std::string_view> all = Alternatives(list);
  return std::ranges::find(all, one) != all.end();
}

}  // namespace smelt
