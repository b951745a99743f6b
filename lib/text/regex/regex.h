// Regular expressions of pre-tokenizers, as the `tokenizers` library (Oniguruma) understands them:
// text -> tree (ParseRegex) -> table (RegexDfa), or PCRE2's text (RegexPcre) where the tree has no
// table.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "lib/text/regex/regex_dfa.h"
#include "lib/text/regex/regex_pcre.h"

namespace smelt {

enum class RegexEngine {
  kAny,      ///< the table where the expression has one, else PCRE2
  kPcreOnly  ///< PCRE2: slower, and a second opinion for tests
};

/// A compiled expression. Copies share it.
class Regex {
 public:
  /// Compiled once while it is in use, and kept for a while after. The most recent ones are shared
  /// by the whole process, from any thread.
  static absl::StatusOr<Regex> Compile(std::string_view pattern,
                                       RegexEngine engine = RegexEngine::kAny);
  static Regex Literal(std::string_view text);

  using Match = RegexMatch;
  /// What finding one match after the other in a text has learned about it, and has cost.
  struct Memo {
    RegexDfa::Memo table;
    RegexPcre::Effort pcre;
  };
  /// The first match at or after `from`; nothing when there is none. An error when PCRE2 has taken
  /// more steps on the whole text than its length allows. `memo` belongs to this text.
  absl::StatusOr<std::optional<Match>> Find(std::string_view text, size_t from, Memo& memo) const;
  absl::StatusOr<std::optional<Match>> Find(std::string_view text, size_t from) const {
    Memo memo;
    return Find(text, from, memo);
  }

  /// Calls visit(match) for one match after the other, as the library finds them: none in an empty
  /// text; matches of nothing too, but not where a match has just ended.
  absl::Status ForEachMatch(std::string_view text,
                            absl::FunctionRef<absl::Status(Match)> visit) const;

  /// How the pattern was written.
  const std::string& pattern() const;

 private:
  struct Compiled;
  class Cache;
  static absl::StatusOr<std::shared_ptr<const Compiled>> CompileAnew(std::string_view pattern,
                                                                     RegexEngine engine);
  explicit Regex(std::shared_ptr<const Compiled> compiled) : compiled_(std::move(compiled)) {}
  std::shared_ptr<const Compiled> compiled_;
};

}  // namespace smelt
