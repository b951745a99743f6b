// Regular expressions of pre-tokenizers, as the `tokenizers` library (Oniguruma) understands them.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "lib/text/regex/regex_dfa.h"

namespace smelt {

enum class RegexEngine {
  kAny,      ///< the compiled table where the pattern has one, else PCRE2
  kPcreOnly  ///< PCRE2: slower, and a second opinion
};

class Regex {
 public:
  static absl::StatusOr<Regex> Compile(std::string_view pattern,
                                       RegexEngine engine = RegexEngine::kAny);
  static Regex Literal(std::string_view text);
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

  struct Match {
    size_t begin, end;
  };
  /// What finding one match after the other in a text has learned about it, and has cost.
  struct Memo : RegexDfa::Memo {
    uint64_t steps = 0;                   ///< of PCRE2, beyond the few that every place may take
    uint64_t calls = 0;                   ///< of PCRE2
    std::chrono::nanoseconds started{0};  ///< processor time; 0: not looked at yet
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
  const std::string& pattern() const { return pattern_; }

 private:
  struct Pcre;
  Regex();
  std::string pattern_;
  std::optional<std::string> literal_;
  std::optional<RegexDfa> dfa_;
  std::unique_ptr<Pcre> pcre_;
};

}  // namespace smelt
