// The YAML front matter of a model card (README.md): between a first line "---" and the next.
#pragma once

#include <optional>
#include <string_view>

#include "absl/status/statusor.h"
#include "lib/base/json.h"

namespace smelt {

/// The front matter as a tree in which every scalar is a string (`- no` stays "no"), plain null is
/// null. nullopt when the text has none. Tabs count as two spaces. kInvalidInput when it is no YAML
/// mapping, is larger than 2 MiB, nested deeper than 32 levels or has more than 256
/// anchors or %TAG directives; time and memory are bounded by the text's size.
absl::StatusOr<std::optional<JsonValue>> ParseModelCard(std::string_view text);

}  // namespace smelt
