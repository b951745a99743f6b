// The regular expressions of published pre-tokenizers (Oniguruma's syntax), parsed.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/text/regex/char_set.h"

namespace smelt {

/// One node of a parsed expression.
struct RegexNode {
  enum class Kind {
    kSet,          ///< one character of `set`
    kConcat,       ///< children one after the other; none: the empty string
    kAlternative,  ///< the first child that leads to a match
    kRepeat,       ///< children[0], min to max times (max < 0: any number)
    kLook,         ///< the next character is (negated: is not) of `set`; the end of the text is no
                   ///< character
  };
  Kind kind = Kind::kConcat;
  CharSet set;
  std::vector<RegexNode> children;
  int min = 0, max = 0;
  bool greedy = true;
  bool negated = false;

  friend bool operator==(const RegexNode&, const RegexNode&) = default;
};

/// kUnsupported for valid syntax that has no place in RegexNode (anchors but $, back references,
/// lookbehind, possessive quantifiers behind groups); kInvalidInput for what is no regular
/// expression.
absl::StatusOr<RegexNode> ParseRegex(std::string_view pattern);

/// The bracketed class behind whose "[" `at` is, letter case counting; `at` moves behind its "]".
absl::StatusOr<CharSet> ParseRegexClass(std::string_view pattern, size_t& at);

}  // namespace smelt
