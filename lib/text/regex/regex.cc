#include "lib/text/regex/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <time.h>

#include <algorithm>
#include <new>
#include <utility>

#include "lib/base/per_thread.h"
#include "lib/base/status.h"
#include "lib/base/utf8.h"

namespace smelt {
namespace {

constexpr uint32_t kHeapLimitKib = 256 * 1024;

// PCRE2 limits the steps of a match, from each place anew. A text as a whole may take these: many
// where it is short, and some for every byte; matches that take one step for each byte fit in.
constexpr uint64_t StepsFor(size_t bytes) {
  return std::min<uint64_t>(16'000 + 1000 * uint64_t{bytes}, 20'000'000 + 16 * uint64_t{bytes});
}
constexpr uint32_t kFreeSteps = 128;  // from every place

// A step may walk over the rest of the text, and PCRE2 does not count that: the last resort is the
// clock, at some hundred times what a usual expression takes.
constexpr std::chrono::nanoseconds TimeFor(size_t bytes) {
  return std::chrono::seconds(2) + std::chrono::microseconds(5 * bytes);
}
std::chrono::nanoseconds ProcessorTime() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec);
}
bool OutOfTime(size_t bytes, Regex::Memo& memo) {
  constexpr size_t kLong = 1 << 16;
  if (++memo.calls % (bytes < kLong ? 256 : 8) != 0) return false;
  const std::chrono::nanoseconds now = ProcessorTime();
  if (memo.started.count() == 0) memo.started = now;
  return now - memo.started > TimeFor(bytes);
}

// Places searched at once: fewer where each may be a walk over a long text.
size_t WindowFor(size_t bytes) {
  return std::clamp<size_t>((size_t{16} << 20) / (bytes + 1), 1, 4096);
}

std::string RangesText(const CharSet& set) {
  std::string out;
  const auto hex = [&](char32_t c) {
    static constexpr char kDigits[] = "0123456789abcdef";
    out += "\\x{";
    for (int shift = 20; shift >= 0; shift -= 4) out.push_back(kDigits[(c >> shift) & 15]);
    out += "}";
  };
  for (auto [first, last] : set) {
    // Surrogates are no characters to PCRE2.
    if (first >= 0xd800 && first <= 0xdfff) first = 0xe000;
    if (last >= 0xd800 && last <= 0xdfff) last = 0xd7ff;
    if (first > last) continue;
    hex(first);
    if (first == last) continue;
    out += "-";
    hex(last);
  }
  return out;
}

// "\b" and "\B" for the library's word characters; PCRE2's own know ASCII's.
std::string Boundary(bool negated) {
  const std::string word = Cat("[", RangesText(EscapeSet('w')), "]");
  const std::string same = negated ? "=" : "!", other = negated ? "!" : "=";
  return Cat("(?:(?<=", word, ")(?", same, word, ")|(?<!", word, ")(?", other, word, "))");
}

// What both accept and understand differently, at the beginning of `rest`; empty when nothing is.
std::string_view Ambiguous(std::string_view rest) {
  if (rest.starts_with("(*")) return "a group that begins with *";
  if (rest.starts_with("(?")) {
    rest.remove_prefix(2);
    if (rest.starts_with("-")) rest.remove_prefix(1);
    const bool letter = !rest.empty() &&
                        ((rest[0] >= 'a' && rest[0] <= 'z') || (rest[0] >= 'A' && rest[0] <= 'Z') ||
                         rest[0] == '|' || rest[0] == '(' || rest[0] == '^' || rest[0] == '&');
    if (letter && rest[0] != 'i') return "a kind of group that we do not know";
    if (rest.starts_with("i") && !rest.starts_with("i)") && !rest.starts_with("i:"))
      return "options that we do not know";
    return "";
  }
  if (!rest.starts_with("{")) return "";
  const size_t end = rest.find_first_not_of("0123456789,", 1);
  if (end == std::string_view::npos || end + 1 >= rest.size() || rest[end] != '}') return "";
  const bool exact = rest.substr(0, end).find(',') == std::string_view::npos;
  if (rest[end + 1] == '+' || (exact && rest[end + 1] == '?'))
    return "a repeat of a counted repeat";
  return "";
}

// \s \d \w \p{...} and their negations as explicit ranges (PCRE2's own tables are of another
// Unicode version), and what else the library understands differently.
absl::StatusOr<std::string> ForPcre(std::string_view pattern) {
  // "a(?i)b|c" is "a(?i:b|c)" to Oniguruma.
  if (const size_t at = pattern.find("(?i)", 1);
      at < pattern.size() && pattern.find('|', at) < pattern.size())
    return Error(ErrorCode::kUnsupported, "regular expression \"", Escape(pattern),
                 "\" uses (?i) inside; write (?i:...)");
  std::string out;
  bool in_class = false;
  const bool folds = pattern.find("(?i") < pattern.size();
  const auto put = [&](const CharSet& set) {
    const std::string ranges = RangesText(set);
    if (in_class) {
      out += ranges;
    } else if (ranges.empty()) {
      out += "(?!)";
    } else {  // classes keep their letter case
      out += Cat(folds ? "(?-i:[" : "[", ranges, folds ? "])" : "]");
    }
  };
  for (size_t i = 0; i < pattern.size();) {
    const char c = pattern[i];
    if (c != '\\') {
      if (in_class && (c == '[' || pattern.substr(i).starts_with("&&"))) {
        return Error(ErrorCode::kUnsupported, "regular expression \"", Escape(pattern),
                     "\" uses nested classes");
      }
      if (c == '[' && !folds) {
        SMELT_ASSIGN_OR_RETURN(const CharSet set, ParseRegexClass(pattern, ++i));
        put(set);
        continue;
      }
      if (!in_class && pattern.substr(i).starts_with("(?m:")) {
        out += "(?s:";  // the dot matches line ends
        i += 4;
        continue;
      }
      const std::string_view ambiguous = in_class ? "" : Ambiguous(pattern.substr(i));
      if (!ambiguous.empty())
        return Error(ErrorCode::kUnsupported, "regular expression \"", Escape(pattern), "\" uses ",
                     ambiguous);
      if (!in_class && pattern.substr(i).starts_with("{,") && i + 2 < pattern.size() &&
          pattern[i + 2] >= '0' && pattern[i + 2] <= '9') {
        out += "{0";  // "up to"; a literal to PCRE2
        ++i;
        continue;
      }
      if (c == '[') in_class = true;
      if (c == ']') in_class = false;
      out.push_back(c);
      ++i;
      if (c == '[' && i < pattern.size() && pattern[i] == '^') out.push_back(pattern[i++]);
      continue;
    }
    if (i + 1 >= pattern.size())
      return Error(ErrorCode::kInvalidInput, "regular expression \"", Escape(pattern),
                   "\" ends in a backslash");
    const char e = pattern[i + 1];
    i += 2;
    if (std::string_view("sdw").find(e) != std::string_view::npos) {
      put(EscapeSet(e));
    } else if (std::string_view("SDW").find(e) != std::string_view::npos) {
      put(Complement(EscapeSet(static_cast<char>(e + 32))));
    } else if (e == 'p' || e == 'P') {
      bool negated = e == 'P';
      std::string_view name = pattern.substr(i, 1);
      if (name == "{") {
        const size_t end = pattern.find('}', i);
        if (end == std::string_view::npos)
          return Error(ErrorCode::kInvalidInput, "regular expression \"", Escape(pattern),
                       "\" has an open \\p{");
        name = pattern.substr(i + 1, end - i - 1);
        i = end + 1;
      } else {
        i += name.size();
      }
      if (name.starts_with("^")) {
        negated = !negated;
        name.remove_prefix(1);
      }
      const std::optional<CharSet> set = PropertySet(name);
      if (!set)
        return Error(ErrorCode::kUnsupported, "regular expression \"", Escape(pattern),
                     "\" uses the property ", Escape(name, 30));
      put(negated ? Complement(*set) : *set);
    } else if ((e == 'N' || e == 'O') && !in_class) {
      put(e == 'N' ? Complement({{'\n', '\n'}}) : Complement({}));
    } else if (e == 'h' || e == 'H') {
      const CharSet digits = {{'0', '9'}, {'A', 'F'}, {'a', 'f'}};
      put(e == 'h' ? digits : Complement(digits));
    } else if (e == 'v') {
      out += "\\x{0b}";
    } else if ((e == 'b' || e == 'B') && !in_class) {
      out += Boundary(e == 'B');
    } else if (e == 'u') {
      if (pattern.size() - i < 4 || pattern.substr(i, 4).find_first_not_of(
                                        "0123456789abcdefABCDEF") != std::string_view::npos)
        return Error(ErrorCode::kInvalidInput, "regular expression \"", Escape(pattern),
                     "\" has a bad hexadecimal escape");
      out += Cat("\\x{", pattern.substr(i, 4), "}");
      i += 4;
    } else if (((e >= 'a' && e <= 'z') || (e >= 'A' && e <= 'Z') || (e >= '0' && e <= '9')) &&
               std::string_view("nrtfaexAzZb").find(e) == std::string_view::npos) {
      return Error(ErrorCode::kUnsupported, "regular expression \"", Escape(pattern),
                   "\" uses the escape \\", e);
    } else {
      out.push_back('\\');
      out.push_back(e);
    }
  }
  return out;
}

}  // namespace

struct Regex::Pcre {
  pcre2_code* code = nullptr;
  ~Pcre() { pcre2_code_free(code); }
};

namespace {

// PCRE2's working memory, one for each thread.
struct PcreState {
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  PcreState() {
    if (data == nullptr || context == nullptr) {
      pcre2_match_data_free(data);
      pcre2_match_context_free(context);
      throw std::bad_alloc();
    }
    pcre2_set_heap_limit(context, kHeapLimitKib);
  }
  ~PcreState() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
  }
};

}  // namespace

Regex::Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

Regex Regex::Literal(std::string_view text) {
  Regex regex;
  regex.pattern_ = text;
  regex.literal_ = text;
  return regex;
}

absl::StatusOr<Regex> Regex::Compile(std::string_view pattern, RegexEngine engine) {
  Regex regex;
  regex.pattern_ = pattern;
  if (engine == RegexEngine::kAny) {
    absl::StatusOr<RegexNode> node = ParseRegex(pattern);
    if (node.ok()) {
      absl::StatusOr<RegexDfa> dfa = RegexDfa::Compile(*node);
      if (dfa.ok()) {
        regex.dfa_ = *std::move(dfa);
        return regex;
      }
    } else if (CodeOf(node.status()) != ErrorCode::kUnsupported) {
      return node.status();
    }
  }
  SMELT_ASSIGN_OR_RETURN(const std::string text, ForPcre(pattern));
  regex.pcre_ = std::make_unique<Pcre>();
  int code = 0;
  size_t offset = 0;
  pcre2_compile_context* options = pcre2_compile_context_create(nullptr);
  if (options == nullptr) throw std::bad_alloc();
  pcre2_set_newline(options, PCRE2_NEWLINE_LF);
  regex.pcre_->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                                    PCRE2_UTF | PCRE2_MULTILINE | PCRE2_NO_AUTO_CAPTURE |
                                        PCRE2_USE_OFFSET_LIMIT | PCRE2_NO_START_OPTIMIZE,
                                    &code, &offset, options);
  pcre2_compile_context_free(options);
  if (regex.pcre_->code == nullptr && code == PCRE2_ERROR_HEAP_FAILED) throw std::bad_alloc();
  if (regex.pcre_->code == nullptr) {
    char message[120] = "";
    pcre2_get_error_message(code, reinterpret_cast<PCRE2_UCHAR*>(message), sizeof message);
    return Error(ErrorCode::kInvalidInput, "regular expression \"", Escape(pattern),
                 "\" is not valid: ", message);
  }
  pcre2_jit_compile(regex.pcre_->code, PCRE2_JIT_COMPLETE);  // slower without, not wrong
  return regex;
}

absl::StatusOr<std::optional<Regex::Match>> Regex::Find(std::string_view text, size_t from,
                                                        Memo& memo) const {
  if (literal_) {
    const size_t at = text.find(*literal_, from);
    if (at == std::string_view::npos) return std::nullopt;
    return Match{at, at + literal_->size()};
  }
  if (dfa_) {
    for (size_t at = from; at <= text.size();) {
      const size_t end = dfa_->MatchAt(text, at, memo);
      if (end != RegexDfa::npos) return Match{at, end};
      at += at < text.size() ? DecodeUtf8(text.substr(at, 4)).length : 1;
    }
    return std::nullopt;
  }
  static const PerThread<PcreState> states;
  const PcreState& state = *states;
  // Matches that begin at one of [first, last], each with so many steps: 1 found, 0 none, else an
  // error of PCRE2.
  const auto run = [&](size_t first, size_t last, uint32_t steps) {
    pcre2_set_offset_limit(state.context, last);
    pcre2_set_match_limit(state.context, steps);
    const auto match = [&](uint32_t options) {
      return pcre2_match(pcre_->code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), first,
                         PCRE2_NO_UTF_CHECK | options, state.data, state.context);
    };
    int result = match(0);
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) result = match(PCRE2_NO_JIT);
    return result == PCRE2_ERROR_NOMATCH ? 0 : result >= 0 ? 1 : result;
  };
  const auto found = [&] {
    const size_t* bounds = pcre2_get_ovector_pointer(state.data);
    return Match{bounds[0], bounds[1]};
  };
  const auto next = [&](size_t at) {
    return at + (at < text.size() ? DecodeUtf8(text.substr(at, 4)).length : 1);
  };
  const auto too_slow = [&] {
    return Error(
        ErrorCode::kUnsupported, "regular expression \"", Escape(pattern_),
        "\" needs more steps on this text than the limit allows (it backtracks without end)");
  };
  const uint64_t budget = StepsFor(text.size());
  const size_t window = WindowFor(text.size());
  for (size_t begin = from; begin <= text.size();) {
    const size_t last = std::min(begin + window, text.size());
    if (OutOfTime(text.size(), memo)) return too_slow();
    int result = run(begin, last, kFreeSteps);
    if (result > 0) return found();
    size_t at = begin;
    // Somewhere in here the steps do not suffice: place by place, with more where that is needed.
    for (; result != 0 && at <= last; at = next(at)) {
      uint64_t steps = kFreeSteps;
      int here = run(at, at, kFreeSteps);
      while (here == PCRE2_ERROR_MATCHLIMIT && memo.steps <= budget) {
        memo.steps += steps;
        steps *= 4;
        here = run(at, at, static_cast<uint32_t>(std::min<uint64_t>(steps, UINT32_MAX)));
      }
      if (here > 0) return found();
      if (here == PCRE2_ERROR_NOMEMORY) throw std::bad_alloc();
      if (here < 0 || OutOfTime(text.size(), memo)) return too_slow();
    }
    begin = result == 0 ? next(last) : at;
    while (begin < text.size() && (static_cast<unsigned char>(text[begin]) & 0xc0) == 0x80) ++begin;
  }
  return std::nullopt;
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
