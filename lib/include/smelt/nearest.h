// Which known name somebody may have meant.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "smelt/export.h"

namespace smelt {

/// Bytes to insert, remove or replace between two texts; neighbours that change places count once.
/// Takes time with the product of the lengths.
SMELT_EXPORT size_t EditDistance(std::string_view a, std::string_view b);

/// The `count` names nearest to `name`, nearest first; of equally near ones the first in `names`.
/// Upper and lower case count as the same.
SMELT_EXPORT std::vector<std::string_view> NearestNames(std::string_view name,
                                                        std::span<const std::string_view> names,
                                                        size_t count);

}  // namespace smelt
