#include "lib/text/regex/regex_dfa.h"

#include <map>
#include <utility>

#include "lib/base/status.h"
#include "lib/base/utf8.h"
#include "lib/text/regex/regex_program.h"

namespace smelt {
namespace {

constexpr size_t kMaxStates = 4000;
constexpr char32_t kLimit = 0x110000;

}  // namespace

RegexDfa::Classes::Classes(const RegexAlphabet& alphabet) {
  const auto& runs = alphabet.runs;
  std::map<std::vector<uint8_t>, uint16_t> known;
  std::vector<int> plain(alphabet.member.size(), -1);  // the page that is one class all over
  std::vector<uint8_t> page(256);
  size_t run = 0;  // of the code point that is looked at
  const auto reach = [&](char32_t c) {
    while (run + 1 < runs.size() && runs[run + 1].first <= c) ++run;
    return runs[run].second;
  };
  const auto add_page = [&] {
    const auto [entry, added] = known.try_emplace(page, static_cast<uint16_t>(known.size()));
    if (added) pages_.insert(pages_.end(), page.begin(), page.end());
    page_of_.push_back(entry->second);
  };
  for (char32_t first = 0; first < kLimit; first += 256) {
    const uint8_t cls = reach(first);
    const bool one = run + 1 == runs.size() || runs[run + 1].first >= first + 256;
    if (one && plain[cls] >= 0) {
      page_of_.push_back(static_cast<uint16_t>(plain[cls]));
      continue;
    }
    for (char32_t i = 0; i < 256; ++i) page[i] = reach(first + i);
    add_page();
    if (one) plain[cls] = page_of_.back();
  }
}

absl::StatusOr<RegexDfa> RegexDfa::Compile(const RegexNode& node) { return Compile(node, {}); }

absl::StatusOr<RegexDfa> RegexDfa::Compile(const RegexNode& node,
                                           const std::vector<CharSet>& more_sets) {
  SMELT_ASSIGN_OR_RETURN(const RegexProgram program, RegexProgram::Of(node));
  std::vector<CharSet> sets = program.sets;
  sets.insert(sets.end(), more_sets.begin(), more_sets.end());
  SMELT_ASSIGN_OR_RETURN(const RegexAlphabet alphabet, RegexAlphabet::Of(sets));
  RegexDfa dfa;
  dfa.class_of_ = Classes(alphabet);
  dfa.classes_ = static_cast<uint32_t>(alphabet.member.size());
  dfa.stride_ = dfa.classes_ + 1;
  RegexStepper stepper(program, alphabet);
  SMELT_RETURN_IF_ERROR(dfa.AddStates(stepper));
  return dfa;
}

// The subset construction: every state that can be reached gets a number and a row.
absl::Status RegexDfa::AddStates(RegexStepper& stepper) {
  std::map<RegexStepper::State, uint32_t> numbers;
  std::vector<const RegexStepper::State*> states;  // keys of `numbers`
  const auto number = [&](const RegexStepper::State& state) {
    const auto [entry, added] = numbers.try_emplace(state, static_cast<uint32_t>(states.size()));
    if (added) states.push_back(&entry->first);
    return entry->second;
  };
  number({});
  number(stepper.Start());
  RegexStepper::State next;
  for (size_t i = 0; i < states.size(); ++i) {
    if (states.size() > kMaxStates)
      return Error(ErrorCode::kUnsupported, "the regular expression has too many states");
    for (uint32_t c = 0; c < stride_; ++c) {
      const bool matched = stepper.Step(*states[i], c, next);
      next_.push_back(number(next) * 2 + (matched ? 1 : 0));
    }
  }
  return absl::OkStatus();
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
        cls = class_of_[byte];
        length = 1;
      } else {
        const Utf8Char c = DecodeUtf8(text.substr(i, 4));
        cls = class_of_[c.code_point];
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

}  // namespace smelt
