// What is known of configuration keys that a family does not read.
#pragma once

#include <span>
#include <string_view>

namespace smelt {

/// Keys of config.json that mean nothing to a family that does not read them.
bool IsHarmlessKey(std::string_view key);

/// What a key is to the classes that do not read it.
enum class ForeignKind {
  kCap,      ///< where it passes, at the default of a class that has it, that deserves a warning
  kIgnored,  ///< stands in configurations of classes that do not look at it
  kChanges,  ///< means another model
};

/// A key that changes what some class computes. `neutral`: JSON texts, "a|b", that change nothing,
/// besides null, false, 0, "", [] and {}.
struct ForeignKey {
  std::string_view key;
  ForeignKind kind = ForeignKind::kChanges;
  std::string_view neutral = "";
};

std::span<const ForeignKey> ForeignKeys();

}  // namespace smelt
