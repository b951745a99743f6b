#include "lib/text/regex/regex_pcre.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <time.h>

#include <algorithm>
#include <map>
#include <new>
#include <utility>

#include "lib/base/per_thread.h"
#include "lib/base/status.h"
#include "lib/base/utf8.h"

namespace smelt {
namespace {

using Kind = RegexNode::Kind;

void AppendCharacter(std::string& out, char32_t c) {
  static constexpr char kDigits[] = "0123456789abcdef";
  int shift = 20;
  while (shift > 0 && (c >> shift) == 0) shift -= 4;
  out += "\\x{";
  for (; shift >= 0; shift -= 4) out.push_back(kDigits[(c >> shift) & 15]);
  out += "}";
}

// One character of the set. Surrogates are no characters to PCRE2, and in no text.
std::string SetText(const CharSet& set) {
  std::string ranges;
  for (auto [first, last] : set) {
    if (first >= 0xd800 && first <= 0xdfff) first = 0xe000;
    if (last >= 0xd800 && last <= 0xdfff) last = 0xd7ff;
    if (first > last) continue;
    AppendCharacter(ranges, first);
    if (first == last) continue;
    ranges += "-";
    AppendCharacter(ranges, last);
  }
  if (ranges.empty()) return "(?!)";
  const bool one = set.size() == 1 && set[0].first == set[0].second;
  return one ? ranges : Cat("[", ranges, "]");
}

class Printer {
 public:
  std::string Print(const RegexNode& node) {
    Branches(node);
    return std::move(out_);
  }

  // Large sets that stand in several places are written once and called from there, which is
  // slower, but PCRE2's programs are at most 64 KiB.
  std::string PrintWithCalls(const RegexNode& node) {
    Numbers uses(&Less);
    CountUses(node, uses);
    std::string definitions;
    for (const auto& [set, count] : uses) {
      if (count < 2) continue;
      called_.emplace(set, static_cast<int>(called_.size()) + 1);
      definitions += Cat("(", SetText(*set), ")");
    }
    out_ = definitions.empty() ? std::string() : Cat("(?(DEFINE)", definitions, ")");
    Branches(node);
    return std::move(out_);
  }

 private:
  static constexpr size_t kLarge = 32;  // ranges
  static bool Less(const CharSet* a, const CharSet* b) { return *a < *b; }
  using Numbers = std::map<const CharSet*, int, decltype(&Less)>;

  static void CountUses(const RegexNode& node, Numbers& uses) {
    if (node.kind == Kind::kSet && node.set.size() >= kLarge) ++uses[&node.set];
    for (const RegexNode& child : node.children) CountUses(child, uses);
  }

  void Set(const CharSet& set) {
    const auto called = called_.find(&set);
    out_ += called == called_.end() ? SetText(set) : Cat("(?", called->second, ")");
  }

  void Group(std::string_view open, const RegexNode& inner) {
    out_ += open;
    Branches(inner);
    out_ += ")";
  }

  void Repeat(const RegexNode& node) {
    const RegexNode& child = node.children.front();
    if (child.kind == Kind::kSet) {
      Set(child.set);
    } else {
      Group("(?:", child);
    }
    out_ += Cat("{", node.min, ",", node.max < 0 ? std::string() : Cat(node.max), "}",
                node.greedy ? "" : "?");
  }

  // As a part of a sequence.
  void Part(const RegexNode& node) {
    switch (node.kind) {
      case Kind::kSet:
        return Set(node.set);
      case Kind::kConcat:
        for (const RegexNode& child : node.children) Part(child);
        return;
      case Kind::kAlternative:
        return Group("(?:", node);
      case Kind::kRepeat:
        return Repeat(node);
      case Kind::kLook:
        return Group(Cat("(?", node.behind ? "<" : "", node.negated ? "!" : "="),
                     node.children.front());
      case Kind::kAtomic:
        return Group("(?>", node.children.front());
    }
  }

  // As all of a group, whose parentheses hold alternatives together.
  void Branches(const RegexNode& node) {
    if (node.kind != Kind::kAlternative) return Part(node);
    for (size_t i = 0; i < node.children.size(); ++i) {
      if (i > 0) out_ += "|";
      Branches(node.children[i]);
    }
  }

  std::string out_;
  Numbers called_{&Less};
};

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

// Places searched at once: fewer where each may be a walk over a long text.
size_t WindowFor(size_t bytes) {
  return std::clamp<size_t>((size_t{16} << 20) / (bytes + 1), 1, 4096);
}

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

struct RegexPcre::Code {
  pcre2_code* code = nullptr;
  std::string pattern;
  ~Code() { pcre2_code_free(code); }
};

std::string PcreText(const RegexNode& node) { return Printer().Print(node); }

absl::StatusOr<RegexPcre> RegexPcre::Compile(const RegexNode& node, std::string_view pattern) {
  auto compiled = std::make_shared<Code>();
  compiled->pattern = pattern;
  int code = 0;
  const auto compile = [&](const std::string& text) {
    size_t offset = 0;
    compiled->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                                   PCRE2_UTF | PCRE2_USE_OFFSET_LIMIT | PCRE2_NO_START_OPTIMIZE,
                                   &code, &offset, nullptr);
  };
  compile(PcreText(node));
  if (compiled->code == nullptr && code == PCRE2_ERROR_PATTERN_TOO_LARGE)
    compile(Printer().PrintWithCalls(node));
  if (compiled->code == nullptr) {
    if (code == PCRE2_ERROR_HEAP_FAILED) throw std::bad_alloc();
    char message[120] = "";
    pcre2_get_error_message(code, reinterpret_cast<PCRE2_UCHAR*>(message), sizeof message);
    return Error(ErrorCode::kUnsupported, "regular expression \"", Escape(pattern),
                 "\" is beyond PCRE2: ", message);
  }
  pcre2_jit_compile(compiled->code, PCRE2_JIT_COMPLETE);  // slower without, not wrong
  return RegexPcre(std::move(compiled));
}

size_t RegexPcre::memory() const {
  size_t size = 0, jit = 0;
  pcre2_pattern_info(code_->code, PCRE2_INFO_SIZE, &size);
  pcre2_pattern_info(code_->code, PCRE2_INFO_JITSIZE, &jit);
  return size + jit;
}

// One search for a first match.
class RegexPcre::Search {
 public:
  Search(const Code& code, std::string_view text, Effort& effort)
      : code_(code), text_(text), effort_(effort), state_(*States()) {}

  absl::StatusOr<std::optional<RegexMatch>> From(size_t begin) {
    const size_t window = WindowFor(text_.size());
    while (begin <= text_.size()) {
      const size_t last = std::min(begin + window, text_.size());
      if (OutOfTime()) return TooSlow();
      const int result = Run(begin, last, kFreeSteps);
      if (result > 0) return Found();
      if (result == 0) {
        begin = NextCharacter(last);
        continue;
      }
      // Somewhere in here the steps do not suffice: place by place, with more where that is needed.
      for (; begin <= last; begin = NextCharacter(begin)) {
        const int here = RunWithMore(begin);
        if (here > 0) return Found();
        if (here == PCRE2_ERROR_NOMEMORY) throw std::bad_alloc();
        if (here < 0 || OutOfTime()) return TooSlow();
      }
    }
    return std::nullopt;
  }

 private:
  static const PerThread<PcreState>& States() {
    static const PerThread<PcreState> states;
    return states;
  }

  // Matches that begin at one of [first, last], each with so many steps: 1 found, 0 none, else an
  // error of PCRE2.
  int Run(size_t first, size_t last, uint64_t steps) {
    pcre2_set_offset_limit(state_.context, last);
    pcre2_set_match_limit(state_.context,
                          static_cast<uint32_t>(std::min<uint64_t>(steps, UINT32_MAX)));
    const auto match = [&](uint32_t options) {
      return pcre2_match(code_.code, reinterpret_cast<PCRE2_SPTR>(text_.data()), text_.size(),
                         first, PCRE2_NO_UTF_CHECK | options, state_.data, state_.context);
    };
    int result = match(0);
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) result = match(PCRE2_NO_JIT);
    return result == PCRE2_ERROR_NOMATCH ? 0 : result >= 0 ? 1 : result;
  }

  // At one place, with as many steps as the text has left.
  int RunWithMore(size_t place) {
    uint64_t steps = kFreeSteps;
    int result = Run(place, place, steps);
    while (result == PCRE2_ERROR_MATCHLIMIT && effort_.steps <= StepsFor(text_.size())) {
      effort_.steps += steps;
      steps *= 4;
      result = Run(place, place, steps);
    }
    return result;
  }

  RegexMatch Found() const {
    const size_t* bounds = pcre2_get_ovector_pointer(state_.data);
    return {bounds[0], bounds[1]};
  }

  // `at` may lie inside of a character.
  size_t NextCharacter(size_t at) const {
    ++at;
    while (at < text_.size() && (static_cast<unsigned char>(text_[at]) & 0xc0) == 0x80) ++at;
    return at;
  }

  bool OutOfTime() {
    constexpr size_t kLong = 1 << 16;
    if (++effort_.calls % (text_.size() < kLong ? 256 : 8) != 0) return false;
    const std::chrono::nanoseconds now = ProcessorTime();
    if (effort_.started.count() == 0) effort_.started = now;
    return now - effort_.started > TimeFor(text_.size());
  }

  absl::Status TooSlow() const {
    return Error(
        ErrorCode::kUnsupported, "regular expression \"", Escape(code_.pattern),
        "\" needs more steps on this text than the limit allows (it backtracks without end)");
  }

  const Code& code_;
  std::string_view text_;
  Effort& effort_;
  const PcreState& state_;
};

absl::StatusOr<std::optional<RegexMatch>> RegexPcre::Find(std::string_view text, size_t from,
                                                          Effort& effort) const {
  return Search(*code_, text, effort).From(from);
}

}  // namespace smelt
