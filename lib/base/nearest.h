// Which known name somebody may have meant.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace smelt {

/// Insertions, deletions and replacements of bytes between two texts.
size_t EditDistance(std::string_view a, std::string_view b);

/// The `count` names nearest to `name`, nearest first; of equally
/// near ones the first in `names`. Upper and lower case count as the same.
std::vector<std::string_view> NearestNames(std::string_view name,
                                           std::span<const std::string_view> names, size_t count);

}  // namespace smelt
