// Base64 (RFC 4648), as tokenizer files use it.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace smelt {

/// Padding may be missing; any other character is an error.
absl::StatusOr<std::string> DecodeBase64(std::string_view text);

/// With padding.
std::string EncodeBase64(std::string_view bytes);

}  // namespace smelt
