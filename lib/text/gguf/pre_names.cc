#include "lib/text/gguf/pre_names.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>

#include "absl/functional/function_ref.h"
#include "lib/base/status.h"
#include "lib/text/components/pre_tokenizer.h"
#include "lib/text/regex/regex_dfa.h"
#include "lib/text/regex/regex_parser.h"
#include "lib/text/spec/component_json.h"
#include "smelt/nearest.h"

namespace smelt {
namespace {

// A pipeline boiled down to what cuts the text.
struct Cut {
  enum class Kind { kRegex, kDigits, kOther } kind = Kind::kRegex;
  std::string regex = {};       // where it cuts: every match is a part of its own
  std::string pattern = {};     // as written, for messages
  PreTokenizerStep whole = {};  // of kOther
};

// The step that only maps bytes.
const PreTokenizerStep kBytes = ByteLevel{.add_prefix_space = false, .use_regex = false};

std::string Escaped(std::string_view literal) {
  std::string escaped;
  for (const char c : literal) {
    const bool special = std::string_view(R"(\^$.|?*+()[]{})").find(c) != std::string_view::npos;
    if (special) escaped.push_back('\\');
    escaped.push_back(c);
  }
  return escaped;
}

Cut RegexCut(std::string_view regex) {
  return {.kind = Cut::Kind::kRegex, .regex = std::string(regex), .pattern = std::string(regex)};
}

Cut DigitsCut(bool single) {
  Cut cut = RegexCut(single ? R"(\p{N})" : R"(\p{N}+)");
  cut.kind = Cut::Kind::kDigits;
  return cut;
}

Cut OtherCut(const PreTokenizerStep& step) {
  Cut cut;
  cut.kind = Cut::Kind::kOther;
  cut.pattern = ToJson(std::vector<PreTokenizerStep>{step});
  cut.whole = step;
  return cut;
}

// "Remove what does not match" is "cut at matches" when everything matches.
absl::StatusOr<Cut> SplitCut(const Split& step) {
  const bool removes = step.behavior == SplitBehavior::kRemoved && step.invert;
  if (step.behavior != SplitBehavior::kIsolated && !removes) return OtherCut(step);
  Cut cut = RegexCut(step.pattern.text);
  if (!step.pattern.is_regex) cut.regex = Escaped(cut.pattern);
  if (!removes) return cut;
  const absl::StatusOr<RegexNode> tree = ParseRegex(cut.regex);
  if (!tree.ok() && CodeOf(tree.status()) != ErrorCode::kUnsupported) return tree.status();
  const bool total = tree.ok() && RegexDfa::MatchesEverywhere(*tree).value_or(false);
  if (total) return cut;
  Cut other = OtherCut(step);
  other.pattern = std::move(cut.pattern);
  return other;
}

// Steps that only map bytes to characters at the very end cut nothing.
absl::StatusOr<std::vector<Cut>> CutsOf(std::span<const PreTokenizerStep> steps) {
  std::vector<Cut> cuts;
  for (const PreTokenizerStep& step : steps) {
    if (const ByteLevel* bytes = std::get_if<ByteLevel>(&step); bytes != nullptr) {
      if (bytes->use_regex) cuts.push_back(RegexCut(kGpt2Pattern));
      cuts.push_back(OtherCut(kBytes));
    } else if (const Digits* digits = std::get_if<Digits>(&step); digits != nullptr) {
      cuts.push_back(DigitsCut(digits->individual));
    } else if (const Split* split = std::get_if<Split>(&step); split != nullptr) {
      SMELT_ASSIGN_OR_RETURN(Cut cut, SplitCut(*split));
      cuts.push_back(std::move(cut));
    } else {
      cuts.push_back(OtherCut(step));
    }
  }
  while (!cuts.empty() && cuts.back().kind == Cut::Kind::kOther && cuts.back().whole == kBytes)
    cuts.pop_back();
  return cuts;
}

// How two pipelines compare; nothing where they differ, or may.
struct Same {
  bool exact = true;  ///< no digits of one stand for an expression of the other
};

std::optional<Same> Compare(
    const std::vector<Cut>& a, const std::vector<Cut>& b,
    absl::FunctionRef<bool(const std::string&, const std::string&)> same_regex) {
  if (a.size() != b.size()) return std::nullopt;
  Same same;
  for (size_t i = 0; i < a.size(); ++i) {
    const bool other = a[i].kind == Cut::Kind::kOther;
    if (other != (b[i].kind == Cut::Kind::kOther)) return std::nullopt;
    const bool alike = other ? a[i].whole == b[i].whole
                             : a[i].regex == b[i].regex || same_regex(a[i].regex, b[i].regex);
    if (!alike) return std::nullopt;
    same.exact = same.exact && a[i].kind == b[i].kind;
  }
  return same;
}

bool SameMeaning(const std::string& a, const std::string& b) {
  const absl::StatusOr<RegexNode> x = ParseRegex(a), y = ParseRegex(b);
  if (!x.ok() || !y.ok()) return false;
  if (*x == *y) return true;
  const absl::StatusOr<bool> same = RegexDfa::Equivalent(*x, *y);
  return same.ok() && *same;
}

std::string Describe(const std::vector<Cut>& cuts) {
  std::string out;
  for (const Cut& cut : cuts) out += Cat(out.empty() ? "" : " then ", cut.pattern);
  return out.empty() ? "nothing" : out;
}

// `names` are separated by spaces.
bool IsOneOf(std::string_view name, std::string_view names) {
  while (!names.empty()) {
    const std::string_view one = names.substr(0, names.find(' '));
    if (one == name) return true;
    names.remove_prefix(std::min(names.size(), one.size() + 1));
  }
  return false;
}

// As written: backslashes are no reason to escape.
std::string Shown(std::string_view text, size_t limit) {
  std::string out;
  const bool cut = text.size() > limit;
  text = text.substr(0, limit);
  while (cut && !text.empty() && (static_cast<unsigned char>(text.back()) & 0x80) != 0)
    text.remove_suffix(1);
  while (!text.empty()) {
    const size_t end = std::min(text.find('\\'), text.size());
    out += Escape(text.substr(0, end), 2 * limit);
    if (end < text.size()) out.push_back('\\');
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out + (cut ? "..." : "");
}

// Takes what both begin and end with away, but for the alternatives in which they differ.
void KeepDifference(std::string_view& a, std::string_view& b) {
  const std::string_view all = a;
  const auto common = std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin();
  const size_t bar = all.substr(0, static_cast<size_t>(common)).rfind('|');
  const size_t front = bar == std::string_view::npos ? 0 : bar + 1;
  a.remove_prefix(front);
  b.remove_prefix(front);
  const auto back = std::mismatch(a.rbegin(), a.rend(), b.rbegin(), b.rend()).first - a.rbegin();
  const std::string_view end = a.substr(a.size() - static_cast<size_t>(back));
  const size_t drop = end.size() - std::min(end.find('|'), end.size());
  a.remove_suffix(drop);
  b.remove_suffix(drop);
}

}  // namespace

const PreTokenizerName* FindPreTokenizer(std::string_view name) {
  for (const PreTokenizerName& entry : PreTokenizerTable()) {
    if (entry.name == name || IsOneOf(name, entry.same)) return &entry;
  }
  return nullptr;
}

const PreTokenizerName* FindPipelineOf(std::string_view name) {
  const PreTokenizerName* row = FindPreTokenizer(name);
  return row != nullptr && row->known ? row : nullptr;
}

bool PreTokenizerName::BeginsTexts(std::string_view which) const {
  return IsOneOf(which, begins_texts);
}

std::string KnownPreTokenizers() {
  std::string out;
  for (const PreTokenizerName& entry : PreTokenizerTable())
    if (entry.known) out += Cat(out.empty() ? "" : ", ", entry.name);
  return out;
}

namespace {

// The sentence that no name fits.
absl::Status NoName(const std::string& mine, const std::vector<std::vector<Cut>>& table) {
  constexpr size_t kCompared = 2000;  // bytes: the work grows with their square
  const std::string_view compared = std::string_view(mine).substr(0, kCompared);
  size_t nearest_distance = SIZE_MAX;
  std::string_view nearest;
  std::string nearest_pattern;
  for (size_t i = 0; i < table.size(); ++i) {
    std::string pattern = Describe(table[i]);
    const size_t distance = EditDistance(compared, std::string_view(pattern).substr(0, kCompared));
    if (distance >= nearest_distance) continue;
    nearest_distance = distance;
    nearest = PreTokenizerTable()[i].name;
    nearest_pattern = std::move(pattern);
  }
  std::string_view here = mine, there = nearest_pattern;
  KeepDifference(here, there);
  constexpr size_t kWhole = 100, kPart = 40;  // the sentence fits a terminal
  return Error(ErrorCode::kUnsupported, "the pre-tokenizer has no GGUF name: its pattern is ",
               Shown(mine, kWhole), "; nearest is ", nearest, ", with ", Shown(there, kPart),
               " where this has ", Shown(here, kPart), "; --pre NAME insists on one");
}

}  // namespace

absl::StatusOr<PreTokenizerMatch> NamePreTokenizer(std::span<const PreTokenizerStep> steps,
                                                   bool ignore_merges) {
  SMELT_ASSIGN_OR_RETURN(const std::vector<Cut> cuts, CutsOf(steps));
  std::vector<std::vector<Cut>> table;
  for (const PreTokenizerName& entry : PreTokenizerTable()) {
    if (!entry.known) break;  // those without steps come last
    SMELT_ASSIGN_OR_RETURN(std::vector<Cut> known, CutsOf(entry.steps));
    table.push_back(std::move(known));
  }
  // Written alike, which is quickly seen; else alike in what they match.
  const auto written_alike = [](const std::string&, const std::string&) { return false; };
  for (const absl::FunctionRef<bool(const std::string&, const std::string&)> same_regex :
       {absl::FunctionRef<bool(const std::string&, const std::string&)>(written_alike),
        absl::FunctionRef<bool(const std::string&, const std::string&)>(SameMeaning)}) {
    std::optional<PreTokenizerMatch> found;
    for (size_t i = 0; i < table.size(); ++i) {
      const PreTokenizerName& entry = PreTokenizerTable()[i];
      const bool merges_too = entry.ignore_merges == ignore_merges;
      if (found && !merges_too) continue;
      const std::optional<Same> same = Compare(cuts, table[i], same_regex);
      if (!same) continue;
      found = PreTokenizerMatch{.name = std::string(entry.name), .exact = same->exact};
      if (merges_too) return *found;
    }
    if (found) return *found;
  }
  for (const Cut& cut : cuts) {  // what is no expression at all
    const absl::Status status = ParseRegex(cut.regex).status();
    if (!status.ok() && CodeOf(status) != ErrorCode::kUnsupported) return status;
  }
  return NoName(Describe(cuts), table);
}

}  // namespace smelt
