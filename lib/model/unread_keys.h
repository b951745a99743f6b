// What the keys of a configuration that nobody has read mean.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "lib/model/family.h"

namespace smelt {

/// Whether a value is one of the JSON texts "a|b"; numbers by value, 1 and 1.0 alike.
bool IsOneOf(const JsonValue& value, std::string_view texts);

/// Looks at the keys that nobody has read: one that other families read, or that is known to change
/// the mathematics of classes elsewhere, is refused by name unless its value changes nothing there.
/// What the family's class is known to ignore (windows, caps and switches at the default of a class
/// that has them) is a warning or a note of the context.
absl::Status CheckForeignKeys(FamilyContext& context);

/// A sentence that names the keys that are left and of no table; empty where there are none.
std::string UnknownKeysNote(const Config& config);

}  // namespace smelt
