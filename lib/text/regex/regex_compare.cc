// What two expressions, or all texts, have to do with each other: walks over the tables of
// RegexDfa.
#include <set>
#include <utility>

#include "lib/base/status.h"
#include "lib/text/regex/regex_dfa.h"
#include "lib/text/regex/regex_program.h"

namespace smelt {
namespace {

constexpr size_t kMaxPairs = 16000;
constexpr char32_t kLimit = 0x110000;

}  // namespace

// States from which a match can still end; all others equal the dead one.
std::vector<bool> RegexDfa::LiveStates() const {
  std::vector<bool> live(states(), false);
  for (bool changed = true; changed;) {
    changed = false;
    for (uint32_t s = 0; s < states(); ++s) {
      for (uint32_t c = 0; c < stride_ && !live[s]; ++c) {
        const uint32_t step = Row(s, c);
        const bool goes_on = c != classes_ && live[step >> 1];
        if ((step & 1) || goes_on) live[s] = changed = true;
      }
    }
  }
  return live;
}

absl::StatusOr<bool> RegexDfa::Equivalent(const RegexNode& a, const RegexNode& b) {
  SMELT_ASSIGN_OR_RETURN(const RegexProgram program_a, RegexProgram::Of(a));
  SMELT_ASSIGN_OR_RETURN(const RegexProgram program_b, RegexProgram::Of(b));
  SMELT_ASSIGN_OR_RETURN(const RegexDfa x, Compile(a, program_b.sets));
  SMELT_ASSIGN_OR_RETURN(const RegexDfa y, Compile(b, program_a.sets));
  // The same sets give the same classes, though in another order: pair them by their code points.
  using Pair = std::pair<uint32_t, uint32_t>;
  std::set<Pair> classes = {{x.classes_, y.classes_}};
  Pair last = *classes.begin();
  for (char32_t c = 0; c < kLimit; ++c) {
    const Pair pair = {x.class_of_[c], y.class_of_[c]};
    if (pair != last) classes.insert(last = pair);
  }
  // Walk both side by side; where the answers "a match ends here" differ, so do the expressions.
  const std::vector<bool> live_x = x.LiveStates(), live_y = y.LiveStates();
  std::set<Pair> seen = {{1, 1}};
  std::vector<Pair> todo = {{1, 1}};
  while (!todo.empty()) {
    const auto [s, t] = todo.back();
    todo.pop_back();
    for (const auto& [c, d] : classes) {
      const uint32_t p = x.Row(s, c), q = y.Row(t, d);
      if ((p & 1) != (q & 1)) return false;
      if (c == x.classes_) continue;
      const Pair next = {live_x[p >> 1] ? p >> 1 : 0, live_y[q >> 1] ? q >> 1 : 0};
      if (next == Pair{0, 0}) continue;
      if (seen.insert(next).second) todo.push_back(next);
      if (seen.size() > kMaxPairs)
        return Error(ErrorCode::kUnsupported, "the regular expressions are too large to compare");
    }
  }
  return true;
}

absl::StatusOr<bool> RegexDfa::MatchesEverywhere(const RegexNode& node) {
  SMELT_ASSIGN_OR_RETURN(const RegexDfa d, Compile(node));
  // A state is safe when every way on from it, the end of the text included, meets a match.
  std::vector<bool> safe(d.states(), true);
  for (bool changed = true; changed;) {
    changed = false;
    for (uint32_t s = 0; s < d.states(); ++s) {
      for (uint32_t c = 0; c < d.stride_ && safe[s]; ++c) {
        const uint32_t step = d.Row(s, c);
        const bool good = (step & 1) != 0 || (c != d.classes_ && safe[step >> 1]);
        if (!good) safe[s] = false, changed = true;
      }
    }
  }
  for (uint32_t c = 0; c < d.classes_; ++c) {
    if (!safe[d.Row(1, c) >> 1]) return false;
  }
  return true;
}

}  // namespace smelt
