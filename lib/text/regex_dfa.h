// A matcher compiled from a regular expression: a table walked once over the text, with the results
// of a backtracking matcher (first alternative that matches, greedy where the pattern is) and none
// of its bad cases.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/text/regex_parser.h"

namespace smelt {

class RegexDfa {
 public:
  /// kUnsupported when the table would become too large.
  static absl::StatusOr<RegexDfa> Compile(const RegexNode& node);

  /// End of the match that begins at `begin` (bytes of valid UTF-8), or npos. May equal `begin`.
  size_t MatchAt(std::string_view text, size_t begin) const;

  /// True when both give the same matches on every text.
  static absl::StatusOr<bool> Equivalent(const RegexNode& a, const RegexNode& b);

  /// True when there is a match of at least one character at every place of every text.
  static absl::StatusOr<bool> MatchesEverywhere(const RegexNode& node);

  static constexpr size_t npos = SIZE_MAX;

 private:
  static absl::StatusOr<RegexDfa> Compile(const RegexNode& node,
                                          const std::vector<CharSet>& more_sets);
  uint32_t ClassOf(char32_t c) const { return pages_[page_of_[c >> 8] * 256u + (c & 255)]; }

  uint32_t classes_ = 0;  ///< of characters; the next one is the end of the text
  uint32_t stride_ = 0;
  std::vector<uint16_t> page_of_;  ///< of each 256 code points
  std::vector<uint8_t> pages_;
  std::vector<uint32_t> next_;  ///< [state][class]: next state * 2 + "a match ends before this
                                ///< character"; state 0 is dead
};

}  // namespace smelt
