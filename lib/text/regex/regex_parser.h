// The regular expressions of published pre-tokenizers (Oniguruma's syntax), parsed.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "lib/text/regex/regex_node.h"

namespace smelt {

/// kUnsupported for valid syntax that RegexNode has no place for (back references, absent groups,
/// conditions, ...) and for expressions of excessive size; kInvalidInput for what is no regular
/// expression.
absl::StatusOr<RegexNode> ParseRegex(std::string_view pattern);

}  // namespace smelt
