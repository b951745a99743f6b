// The "normalizer" of a tokenizer.json: text in, text out.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "lib/base/json.h"
#include "lib/text/regex/regex.h"

namespace smelt {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  /// `text` is valid UTF-8 and stays so. `start`: how many bytes at its beginning stand for the
  /// beginning of the original text, as the library counts; none when a step removed that.
  virtual absl::Status Apply(std::string& text, size_t& start) const = 0;
  absl::Status Apply(std::string& text) const {
    size_t start = 0;
    return Apply(text, start);
  }
};

/// From the component's JSON; nullptr for null. Errors name the component.
absl::StatusOr<std::unique_ptr<Normalizer>> MakeNormalizer(const JsonValue* json,
                                                           RegexEngine engine);

/// A member of a component as pattern: {"String": ...} or {"Regex": ...}.
absl::StatusOr<Regex> PatternOf(const JsonValue& component, RegexEngine engine);

/// Replaces every match. `start` as in Normalizer::Apply.
absl::Status ReplaceAll(const Regex& pattern, std::string_view content, std::string& text,
                        size_t& start);

/// A boolean member, or the default when it is absent or null.
bool FlagOf(const JsonValue& component, std::string_view key, bool fallback);
/// A string member, or empty.
std::string TextOf(const JsonValue& component, std::string_view key);

}  // namespace smelt
