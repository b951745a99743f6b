// Regular expressions matched by PCRE2: all that the parser knows, slower than a table.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "lib/text/regex/regex_node.h"

namespace smelt {

struct RegexMatch {
  size_t begin, end;  ///< bytes of the text
};

/// The expression in PCRE2's syntax, for PCRE2_UTF and no other option: every character is one of
/// explicit ranges, as PCRE2's tables are of another Unicode version.
std::string PcreText(const RegexNode& node);

class RegexPcre {
 public:
  /// `pattern`: how it was written, for messages. kUnsupported when PCRE2 has no form for it
  /// (looks behind over texts of no fixed length) or it is too large.
  static absl::StatusOr<RegexPcre> Compile(const RegexNode& node, std::string_view pattern);

  /// What all searches in one text have cost.
  struct Effort {
    uint64_t steps = 0;                   ///< beyond the few that every place may take
    uint64_t calls = 0;                   ///< of PCRE2
    std::chrono::nanoseconds started{0};  ///< processor time; 0: not looked at yet
  };

  /// The first match at or after `from` in valid UTF-8; nothing when there is none. An error when
  /// all searches together have taken more steps than the text's length allows.
  absl::StatusOr<std::optional<RegexMatch>> Find(std::string_view text, size_t from,
                                                 Effort& effort) const;

  size_t memory() const;

 private:
  struct Code;
  class Search;
  explicit RegexPcre(std::shared_ptr<const Code> code) : code_(std::move(code)) {}
  std::shared_ptr<const Code> code_;
};

}  // namespace smelt
