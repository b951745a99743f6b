// --metadata KEY=VALUE: text from a command line turned into typed GGUF values.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "lib/base/metadata.h"

namespace smelt {

/// Sets every KEY. An existing key keeps its type; a new one takes the type that VALUE names
/// ("u32:5", "str:1.0", "bool:true") or else looks like: true/false, an integer (u32, or i32 when
/// negative, 64 bits when it must), a number with a point or exponent (f32), a string. Arrays are
/// written as JSON lists. kUsage names the key and what fits.
absl::Status EditMetadata(const std::vector<std::pair<std::string, std::string>>& edits,
                          Metadata& metadata);

}  // namespace smelt
