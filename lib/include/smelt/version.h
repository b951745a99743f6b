#pragma once

#include <string_view>

#include "smelt/export.h"

namespace smelt {

/// "0.1.0"
SMELT_EXPORT std::string_view Version();

}  // namespace smelt
