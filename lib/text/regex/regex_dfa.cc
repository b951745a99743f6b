#include "lib/text/regex/regex_dfa.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "lib/base/status.h"
#include "lib/base/utf8.h"

namespace smelt {
namespace {

constexpr size_t kMaxInstructions = 4000;
constexpr size_t kMaxStates = 4000;
constexpr char32_t kLimit = 0x110000;

using Kind = RegexNode::Kind;

// A program for ordered threads: of two alternatives the one at `x` is preferred.
struct Instruction {
  enum class Op { kSet, kLook, kSplit, kMatch } op;
  int set = 0;
  bool negated = false;
  int x = 0, y = -1;
};

class ProgramBuilder {
 public:
  absl::Status Build(const RegexNode& node) {
    SMELT_RETURN_IF_ERROR(Emit(node));
    code_.push_back({Instruction::Op::kMatch});
    return absl::OkStatus();
  }
  const std::vector<Instruction>& code() const { return code_; }
  const std::vector<CharSet>& sets() const { return sets_; }

 private:
  int SetIndex(const CharSet& set) {
    const auto found = std::find(sets_.begin(), sets_.end(), set);
    if (found != sets_.end()) return static_cast<int>(found - sets_.begin());
    sets_.push_back(set);
    return static_cast<int>(sets_.size()) - 1;
  }
  int Here() const { return static_cast<int>(code_.size()); }

  // Execution falls through to the instruction after what was emitted.
  absl::Status Emit(const RegexNode& node) {
    // Steps too: a repeat of a repeat of nothing takes time without instructions.
    if (code_.size() > kMaxInstructions || ++steps_ > 4 * kMaxInstructions)
      return Error(ErrorCode::kUnsupported, "the regular expression is too large");
    switch (node.kind) {
      case Kind::kSet:
        code_.push_back({Instruction::Op::kSet, SetIndex(node.set), false, Here() + 1});
        return absl::OkStatus();
      case Kind::kLook:
        code_.push_back({Instruction::Op::kLook, SetIndex(node.set), node.negated, Here() + 1});
        return absl::OkStatus();
      case Kind::kConcat:
        for (const RegexNode& child : node.children) SMELT_RETURN_IF_ERROR(Emit(child));
        return absl::OkStatus();
      case Kind::kAlternative:
        return EmitAlternative(node);
      case Kind::kRepeat:
        return EmitRepeat(node);
    }
    return absl::OkStatus();
  }

  absl::Status EmitAlternative(const RegexNode& node) {
    std::vector<int> jumps;
    for (size_t i = 0; i < node.children.size(); ++i) {
      const bool last = i + 1 == node.children.size();
      const int split = Here();
      if (!last) code_.push_back({Instruction::Op::kSplit, 0, false, Here() + 1});
      SMELT_RETURN_IF_ERROR(Emit(node.children[i]));
      if (last) break;
      jumps.push_back(Here());
      code_.push_back({Instruction::Op::kSplit});
      code_[split].y = Here();
    }
    for (const int jump : jumps) code_[jump].x = Here();
    return absl::OkStatus();
  }

  void Choose(int split, int enter, int leave, bool greedy) {
    code_[split].x = greedy ? enter : leave;
    code_[split].y = greedy ? leave : enter;
  }

  absl::Status EmitRepeat(const RegexNode& node) {
    const RegexNode& child = node.children.front();
    for (int i = 0; i < node.min; ++i) SMELT_RETURN_IF_ERROR(Emit(child));
    if (node.max < 0) {
      const int split = Here();
      code_.push_back({Instruction::Op::kSplit});
      SMELT_RETURN_IF_ERROR(Emit(child));
      code_.push_back({Instruction::Op::kSplit, 0, false, split});
      Choose(split, split + 1, Here(), node.greedy);
      return absl::OkStatus();
    }
    std::vector<int> splits;
    for (int i = node.min; i < node.max; ++i) {
      splits.push_back(Here());
      code_.push_back({Instruction::Op::kSplit});
      SMELT_RETURN_IF_ERROR(Emit(child));
    }
    for (const int split : splits) Choose(split, split + 1, Here(), node.greedy);
    return absl::OkStatus();
  }

  std::vector<Instruction> code_;
  std::vector<CharSet> sets_;
  size_t steps_ = 0;
};

// Code points that no set tells apart share a class.
struct Alphabet {
  std::vector<std::pair<char32_t, uint8_t>> runs;  // first code point, class
  std::vector<std::vector<bool>> member;           // [class][set]
};

absl::StatusOr<Alphabet> MakeAlphabet(const std::vector<CharSet>& sets) {
  std::set<char32_t> starts = {0};
  for (const CharSet& set : sets) {
    for (const auto& [first, last] : set) {
      starts.insert(first);
      if (last + 1 < kLimit) starts.insert(last + 1);
    }
  }
  Alphabet alphabet;
  std::map<std::vector<bool>, uint8_t> classes;
  std::vector<size_t> at(sets.size(), 0);
  for (const char32_t start : starts) {
    std::vector<bool> signature(sets.size());
    for (size_t i = 0; i < sets.size(); ++i) {
      while (at[i] < sets[i].size() && sets[i][at[i]].second < start) ++at[i];
      signature[i] = at[i] < sets[i].size() && sets[i][at[i]].first <= start;
    }
    const auto [entry, added] =
        classes.try_emplace(signature, static_cast<uint8_t>(classes.size()));
    if (added) alphabet.member.push_back(signature);
    if (alphabet.member.size() > 250)
      return Error(ErrorCode::kUnsupported, "the regular expression has too many classes");
    alphabet.runs.emplace_back(start, entry->second);
  }
  return alphabet;
}

// Ordered threads, stepped by one character class at a time.
class Stepper {
 public:
  Stepper(const std::vector<Instruction>& code, const Alphabet& alphabet)
      : code_(code), alphabet_(alphabet), seen_(code.size(), 0) {}

  using State = std::vector<int>;

  State Start() {
    State state;
    ++round_;
    Follow(0, state);
    return state;
  }

  // `cls` = number of classes stands for the end of the text.
  bool Step(const State& state, size_t cls, State& next) {
    next.clear();
    matched_ = false;
    ++round_;
    std::set<int> looked;
    for (const int pc : state) {
      if (matched_) break;
      Advance(pc, cls, next, looked);
    }
    return matched_;
  }

 private:
  // Adds what can be waited at, in order of preference.
  void Follow(int pc, State& state) {
    if (seen_[pc] == round_) return;
    seen_[pc] = round_;
    if (code_[pc].op == Instruction::Op::kSplit) {
      Follow(code_[pc].x, state);
      if (code_[pc].y >= 0) Follow(code_[pc].y, state);
    } else {
      state.push_back(pc);
    }
  }

  bool Member(size_t cls, int set) const {
    return cls < alphabet_.member.size() && alphabet_.member[cls][set];
  }

  void Advance(int pc, size_t cls, State& next, std::set<int>& looked) {
    if (matched_) return;
    const Instruction& in = code_[pc];
    switch (in.op) {
      case Instruction::Op::kMatch:
        matched_ = true;
        return;
      case Instruction::Op::kSet:
        if (Member(cls, in.set)) Follow(in.x, next);
        return;
      case Instruction::Op::kLook:
        if (Member(cls, in.set) != in.negated && looked.insert(pc).second)
          Advance(in.x, cls, next, looked);
        return;
      case Instruction::Op::kSplit:
        if (!looked.insert(pc).second) return;
        Advance(in.x, cls, next, looked);
        if (in.y >= 0) Advance(in.y, cls, next, looked);
        return;
    }
  }

  const std::vector<Instruction>& code_;
  const Alphabet& alphabet_;
  std::vector<uint64_t> seen_;
  uint64_t round_ = 0;
  bool matched_ = false;
};

}  // namespace

absl::StatusOr<RegexDfa> RegexDfa::Compile(const RegexNode& node) { return Compile(node, {}); }

absl::StatusOr<RegexDfa> RegexDfa::Compile(const RegexNode& node,
                                           const std::vector<CharSet>& more_sets) {
  ProgramBuilder program;
  SMELT_RETURN_IF_ERROR(program.Build(node));
  std::vector<CharSet> sets = program.sets();
  sets.insert(sets.end(), more_sets.begin(), more_sets.end());
  SMELT_ASSIGN_OR_RETURN(const Alphabet alphabet, MakeAlphabet(sets));

  RegexDfa dfa;
  dfa.classes_ = static_cast<uint32_t>(alphabet.member.size());
  dfa.stride_ = dfa.classes_ + 1;
  std::map<std::vector<uint8_t>, uint16_t> known_pages;
  size_t run = 0;
  std::vector<uint8_t> page(256);
  const auto put_page = [&] {
    const auto [entry, added] =
        known_pages.try_emplace(page, static_cast<uint16_t>(known_pages.size()));
    if (added) dfa.pages_.insert(dfa.pages_.end(), page.begin(), page.end());
    dfa.page_of_.push_back(entry->second);
  };
  std::vector<int> plain(alphabet.member.size(), -1);  // the page that is one class all over
  for (char32_t first = 0; first < kLimit; first += 256) {
    while (run + 1 < alphabet.runs.size() && alphabet.runs[run + 1].first <= first) ++run;
    const uint8_t cls = alphabet.runs[run].second;
    if (run + 1 == alphabet.runs.size() || alphabet.runs[run + 1].first >= first + 256) {
      if (plain[cls] < 0) {
        page.assign(256, cls);
        put_page();
        plain[cls] = dfa.page_of_.back();
      } else {
        dfa.page_of_.push_back(static_cast<uint16_t>(plain[cls]));
      }
      continue;
    }
    for (char32_t i = 0; i < 256; ++i) {
      while (run + 1 < alphabet.runs.size() && alphabet.runs[run + 1].first <= first + i) ++run;
      page[i] = alphabet.runs[run].second;
    }
    put_page();
  }

  Stepper stepper(program.code(), alphabet);
  std::map<Stepper::State, uint32_t> numbers;
  std::vector<Stepper::State> states;
  const auto number = [&](const Stepper::State& state) {
    const auto [entry, added] = numbers.try_emplace(state, static_cast<uint32_t>(states.size()));
    if (added) states.push_back(state);
    return entry->second;
  };
  number({});
  number(stepper.Start());
  Stepper::State next;
  for (size_t i = 0; i < states.size(); ++i) {
    if (states.size() > kMaxStates)
      return Error(ErrorCode::kUnsupported, "the regular expression has too many states");
    const Stepper::State state = states[i];
    for (uint32_t c = 0; c < dfa.stride_; ++c) {
      const bool matched = stepper.Step(state, c, next);
      dfa.next_.push_back(number(next) * 2 + (matched ? 1 : 0));
    }
  }
  return dfa;
}

bool RegexDfa::Memo::Hopeless(size_t place, uint32_t state) const {
  return place >= base_ && place - base_ < states_.size() &&
         states_[place - base_][state % kStates] == state;
}

void RegexDfa::Memo::Learn(size_t place, uint32_t state) {
  if (states_.empty()) base_ = place;
  if (place < base_) return;
  if (place - base_ >= states_.size()) states_.resize(place - base_ + 1);
  states_[place - base_][state % kStates] = static_cast<uint16_t>(state);
}

size_t RegexDfa::MatchAt(std::string_view text, size_t begin, Memo& memo) const {
  static_assert(kMaxStates < UINT16_MAX);
  constexpr size_t kPatience = 64;
  uint32_t state = 1;
  size_t end = npos;
  size_t i = begin, hope = begin + kPatience;
  std::vector<std::pair<size_t, uint32_t>> trail;  // since the last match, when that is long ago
  while (true) {
    if (i > hope) {
      if (memo.Hopeless(i, state)) break;
      trail.emplace_back(i, state);
    }
    uint32_t cls = classes_;
    size_t length = 0;
    if (i < text.size()) {
      const auto byte = static_cast<unsigned char>(text[i]);
      if (byte < 0x80) {
        cls = pages_[page_of_[0] * 256u + byte];
        length = 1;
      } else {
        const Utf8Char c = DecodeUtf8(text.substr(i, 4));
        cls = ClassOf(c.code_point);
        length = c.length;
      }
    }
    const uint32_t step = next_[state * stride_ + cls];
    if (step & 1) {
      end = i;
      hope = i + kPatience;
      trail.clear();
    }
    state = step >> 1;
    if (state == 0 || length == 0) break;
    i += length;
  }
  memo.bytes_read_ += i - begin;
  for (const auto& [place, hopeless] : trail) memo.Learn(place, hopeless);
  return end;
}

absl::StatusOr<bool> RegexDfa::Equivalent(const RegexNode& a, const RegexNode& b) {
  ProgramBuilder program_a, program_b;
  SMELT_RETURN_IF_ERROR(program_a.Build(a));
  SMELT_RETURN_IF_ERROR(program_b.Build(b));
  SMELT_ASSIGN_OR_RETURN(const RegexDfa x, Compile(a, program_b.sets()));
  SMELT_ASSIGN_OR_RETURN(const RegexDfa y, Compile(b, program_a.sets()));
  // The same sets give the same classes, though in another order: pair them by their code points.
  std::set<std::pair<uint32_t, uint32_t>> pairs = {{x.classes_, y.classes_}};
  for (size_t page = 0; page < x.page_of_.size(); ++page) {
    for (size_t i = 0; i < 256; ++i) {
      pairs.emplace(x.pages_[x.page_of_[page] * 256u + i], y.pages_[y.page_of_[page] * 256u + i]);
    }
  }
  // Walk both side by side; where the answers "a match ends here" differ, so do the expressions. A
  // state from which no match can end any more equals the dead one.
  const auto live = [](const RegexDfa& d) {
    const size_t n = d.next_.size() / d.stride_;
    std::vector<bool> alive(n, false);
    for (bool changed = true; changed;) {
      changed = false;
      for (size_t s = 0; s < n; ++s) {
        for (uint32_t c = 0; c < d.stride_ && !alive[s]; ++c) {
          const uint32_t step = d.next_[s * d.stride_ + c];
          const bool goes_on = c != d.classes_ && alive[step >> 1];
          if ((step & 1) || goes_on) alive[s] = changed = true;
        }
      }
    }
    return alive;
  };
  const std::vector<bool> live_x = live(x), live_y = live(y);
  std::set<std::pair<uint32_t, uint32_t>> seen = {{1, 1}};
  std::vector<std::pair<uint32_t, uint32_t>> todo = {{1, 1}};
  while (!todo.empty()) {
    const auto [s, t] = todo.back();
    todo.pop_back();
    for (const auto& [c, d] : pairs) {
      const uint32_t p = x.next_[s * x.stride_ + c], q = y.next_[t * y.stride_ + d];
      if ((p & 1) != (q & 1)) return false;
      if (c == x.classes_) continue;
      const std::pair<uint32_t, uint32_t> next = {live_x[p >> 1] ? p >> 1 : 0,
                                                  live_y[q >> 1] ? q >> 1 : 0};
      if (next.first == 0 && next.second == 0) continue;
      if (seen.insert(next).second) todo.push_back(next);
      if (seen.size() > kMaxStates * 4)
        return Error(ErrorCode::kUnsupported, "the regular expressions are too large to compare");
    }
  }
  return true;
}

absl::StatusOr<bool> RegexDfa::MatchesEverywhere(const RegexNode& node) {
  SMELT_ASSIGN_OR_RETURN(const RegexDfa d, Compile(node));
  // A state is safe when every way on from it, the end of the text included, meets a match.
  const size_t n = d.next_.size() / d.stride_;
  std::vector<bool> safe(n, true);
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t s = 0; s < n; ++s) {
      for (uint32_t c = 0; c < d.stride_ && safe[s]; ++c) {
        const uint32_t step = d.next_[s * d.stride_ + c];
        const bool good = (step & 1) != 0 || (c != d.classes_ && safe[step >> 1]);
        if (!good) safe[s] = false, changed = true;
      }
    }
  }
  for (uint32_t c = 0; c < d.classes_; ++c) {
    if (!safe[d.next_[d.stride_ + c] >> 1]) return false;
  }
  return true;
}

}  // namespace smelt
