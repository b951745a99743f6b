#include "lib/text/regex/regex.h"

#include <list>
#include <mutex>
#include <utility>
#include <variant>

#include "lib/base/status.h"
#include "lib/base/utf8.h"
#include "lib/text/regex/regex_parser.h"

namespace smelt {

struct Regex::Compiled {
  std::string pattern;
  std::variant<std::string, RegexDfa, RegexPcre> matcher;  // a std::string: that text itself

  size_t memory() const {
    if (const auto* table = std::get_if<RegexDfa>(&matcher)) return table->memory();
    if (const auto* pcre = std::get_if<RegexPcre>(&matcher)) return pcre->memory();
    return 0;
  }
};

// The expressions that were asked for last, in this order.
class Regex::Cache {
 public:
  static Cache& OfProcess() {
    static Cache& cache = *new Cache;  // outlives every thread
    return cache;
  }

  absl::StatusOr<std::shared_ptr<const Compiled>> Get(std::string_view pattern,
                                                      RegexEngine engine) {
    const std::lock_guard lock(mutex_);
    for (auto at = entries_.begin(); at != entries_.end(); ++at) {
      if (at->engine != engine || at->compiled->pattern != pattern) continue;
      entries_.splice(entries_.begin(), entries_, at);
      return at->compiled;
    }
    SMELT_ASSIGN_OR_RETURN(std::shared_ptr<const Compiled> compiled, CompileAnew(pattern, engine));
    Keep(compiled, engine);
    return compiled;
  }

 private:
  static constexpr size_t kMaxEntries = 64, kMaxBytes = size_t{8} << 20;
  struct Entry {
    std::shared_ptr<const Compiled> compiled;
    RegexEngine engine;
    size_t bytes;
  };

  void Keep(std::shared_ptr<const Compiled> compiled, RegexEngine engine) {
    const size_t bytes = compiled->memory() + compiled->pattern.size();
    if (bytes > kMaxBytes / 4) return;
    entries_.push_front({std::move(compiled), engine, bytes});
    bytes_ += bytes;
    while (entries_.size() > kMaxEntries || bytes_ > kMaxBytes) {
      bytes_ -= entries_.back().bytes;
      entries_.pop_back();
    }
  }

  std::mutex mutex_;
  std::list<Entry> entries_;
  size_t bytes_ = 0;
};

absl::StatusOr<Regex> Regex::Compile(std::string_view pattern, RegexEngine engine) {
  SMELT_ASSIGN_OR_RETURN(std::shared_ptr<const Compiled> compiled,
                         Cache::OfProcess().Get(pattern, engine));
  return Regex(std::move(compiled));
}

absl::StatusOr<std::shared_ptr<const Regex::Compiled>> Regex::CompileAnew(std::string_view pattern,
                                                                          RegexEngine engine) {
  SMELT_ASSIGN_OR_RETURN(const RegexNode tree, ParseRegex(pattern));
  if (engine == RegexEngine::kAny) {
    absl::StatusOr<RegexDfa> table = RegexDfa::Compile(tree);
    if (table.ok())
      return std::make_shared<const Compiled>(Compiled{std::string(pattern), *std::move(table)});
  }
  SMELT_ASSIGN_OR_RETURN(RegexPcre pcre, RegexPcre::Compile(tree, pattern));
  return std::make_shared<const Compiled>(Compiled{std::string(pattern), std::move(pcre)});
}

Regex Regex::Literal(std::string_view text) {
  return Regex(std::make_shared<const Compiled>(Compiled{std::string(text), std::string(text)}));
}

const std::string& Regex::pattern() const { return compiled_->pattern; }

absl::StatusOr<std::optional<Regex::Match>> Regex::Find(std::string_view text, size_t from,
                                                        Memo& memo) const {
  if (const auto* table = std::get_if<RegexDfa>(&compiled_->matcher)) {
    for (size_t at = from; at <= text.size();) {
      const size_t end = table->MatchAt(text, at, memo.table);
      if (end != RegexDfa::npos) return Match{at, end};
      at += at < text.size() ? DecodeUtf8(text.substr(at, 4)).length : 1;
    }
    return std::nullopt;
  }
  if (const auto* pcre = std::get_if<RegexPcre>(&compiled_->matcher))
    return pcre->Find(text, from, memo.pcre);
  const auto& literal = std::get<std::string>(compiled_->matcher);
  const size_t at = text.find(literal, from);
  if (at == std::string_view::npos) return std::nullopt;
  return Match{at, at + literal.size()};
}

absl::Status Regex::ForEachMatch(std::string_view text,
                                 absl::FunctionRef<absl::Status(Match)> visit) const {
  Memo memo;
  size_t last_end = std::string_view::npos;
  for (size_t at = 0; !text.empty() && at <= text.size();) {
    SMELT_ASSIGN_OR_RETURN(const std::optional<Match> match, Find(text, at, memo));
    if (!match) break;
    if (match->begin == match->end && match->end == last_end) {
      at += at < text.size() ? DecodeUtf8(text.substr(at, 4)).length : 1;
      continue;
    }
    SMELT_RETURN_IF_ERROR(visit(*match));
    at = last_end = match->end;
  }
  return absl::OkStatus();
}

}  // namespace smelt
