// Changes of a GGUF's metadata, as people write them.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "smelt/export.h"

namespace smelt {

/// A key and its new value; without a value the key goes. The value is text: TYPE:VALUE ("u32:5",
/// "str:1.0"), @FILE (the file's content), for the id of a special token (keys such as
/// tokenizer.ggml.eos_token_id) the token's text, or else what fits the key's present type. A text
/// that begins with @ is written str:@...
using MetadataEdit = std::pair<std::string, std::optional<std::string>>;
using MetadataEdits = std::vector<MetadataEdit>;

/// "KEY=VALUE", "KEY=@FILE" or "KEY-" (the key goes). kUsage for anything else.
SMELT_EXPORT absl::StatusOr<MetadataEdit> ParseMetadataEdit(std::string_view text);

}  // namespace smelt
