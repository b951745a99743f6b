// Members of JSON objects that may be there.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "lib/base/json.h"

namespace smelt {

/// A boolean member, or the default when it is absent, null or something else.
inline bool FlagOf(const JsonValue& object, std::string_view key, bool fallback) {
  const JsonValue* value = object.FindNonNull(key);
  return value != nullptr && value->as_bool() != nullptr ? *value->as_bool() : fallback;
}

/// A string member, or empty.
inline std::string TextOf(const JsonValue& object, std::string_view key) {
  const JsonValue* value = object.FindNonNull(key);
  return value != nullptr && value->as_string() != nullptr ? *value->as_string() : std::string();
}

/// The steps of a Sequence under `list`: objects. `part` and `place` are for messages.
absl::StatusOr<const JsonValue::Array*> StepsOfSequence(const JsonValue& sequence,
                                                        std::string_view part,
                                                        std::string_view list,
                                                        std::string_view place);

/// The component itself: an object, null or absent.
absl::Status CheckComponent(const JsonValue* json, std::string_view part, std::string_view place);

}  // namespace smelt
