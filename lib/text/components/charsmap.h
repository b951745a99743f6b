// SentencePiece's compiled normalization rules: a double-array trie of source texts, and the texts
// that replace them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace smelt {

class Charsmap {
 public:
  /// The blob as in `precompiled_charsmap`: u32 size of the trie, its units, the replacements ended
  /// by zero bytes. Every unit that can be reached is checked.
  static absl::StatusOr<Charsmap> Parse(std::string_view blob);

  bool empty() const { return units_.empty(); }

  struct Rule {
    size_t length;  ///< bytes of the source text; 0: no rule begins here
    std::string_view replacement;
  };
  Rule Longest(std::string_view text) const { return Find(text, true); }
  Rule Shortest(std::string_view text) const { return Find(text, false); }

 private:
  Rule Find(std::string_view text, bool longest) const;
  std::vector<uint32_t> units_;
  std::string replacements_;
};

}  // namespace smelt
