#include "lib/text/gguf/pre_names.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>

#include "lib/base/status.h"
#include "lib/text/components/normalizer.h"
#include "lib/text/components/pre_tokenizer.h"
#include "lib/text/regex/regex_dfa.h"
#include "lib/text/regex/regex_parser.h"
#include "smelt/nearest.h"

namespace smelt {
namespace {

// A pipeline boiled down to what cuts the text.
struct Cut {
  enum class Kind { kRegex, kDigits, kOther } kind = Kind::kRegex;
  RegexNode regex;       // where it cuts: every match is a part of its own
  std::string pattern;   // as written
  std::string settings;  // of kOther
};

absl::StatusOr<RegexNode> ParseAny(const JsonValue& step, std::string& pattern) {
  const JsonValue* p = step.FindNonNull("pattern");
  if (p != nullptr && p->FindNonNull("String") != nullptr) {
    pattern = TextOf(*p, "String");
    std::string escaped;
    for (const char c : pattern) {
      const bool special = std::string_view(R"(\^$.|?*+()[]{})").find(c) != std::string_view::npos;
      if (special) escaped.push_back('\\');
      escaped.push_back(c);
    }
    return ParseRegex(escaped);
  }
  pattern = p == nullptr ? std::string() : TextOf(*p, "Regex");
  return ParseRegex(pattern);
}

void AddOther(const JsonValue& step, std::vector<Cut>& cuts) {
  Cut cut;
  cut.kind = Cut::Kind::kOther;
  cut.settings = step.ToText();
  // Just a pattern that cannot be compared: shown like the others.
  const bool plain = TextOf(step, "type") == "Split" && TextOf(step, "behavior") == "Isolated";
  const JsonValue* p = plain ? step.FindNonNull("pattern") : nullptr;
  cut.pattern = p == nullptr ? std::string() : TextOf(*p, "Regex");
  if (cut.pattern.empty()) cut.pattern = cut.settings;
  cuts.push_back(std::move(cut));
}

// Recursive over Sequence. Steps that only map bytes to characters at the very end cut nothing.
absl::Status Collect(const JsonValue& step, std::vector<Cut>& cuts) {
  const std::string type = TextOf(step, "type");
  if (type == "Sequence") {
    const JsonValue* list = step.FindNonNull("pretokenizers");
    if (list == nullptr || !list->is_array()) return absl::OkStatus();
    for (const JsonValue& item : *list->as_array()) SMELT_RETURN_IF_ERROR(Collect(item, cuts));
    return absl::OkStatus();
  }
  if (type == "ByteLevel") {
    if (FlagOf(step, "use_regex", true)) {
      Cut cut;
      SMELT_ASSIGN_OR_RETURN(cut.regex, ParseRegex(kGpt2Pattern));
      cut.pattern = kGpt2Pattern;
      cuts.push_back(std::move(cut));
    }
    Cut bytes;
    bytes.kind = Cut::Kind::kOther;
    bytes.settings = "ByteLevel";
    cuts.push_back(std::move(bytes));
    return absl::OkStatus();
  }
  if (type == "Digits") {
    Cut cut;
    cut.kind = Cut::Kind::kDigits;
    cut.pattern = FlagOf(step, "individual_digits", false) ? R"(\p{N})" : R"(\p{N}+)";
    SMELT_ASSIGN_OR_RETURN(cut.regex, ParseRegex(cut.pattern));
    cuts.push_back(std::move(cut));
    return absl::OkStatus();
  }
  const std::string behavior = TextOf(step, "behavior");
  const bool invert = FlagOf(step, "invert", false);
  if (type == "Split" &&
      (behavior == "Isolated" || behavior.empty() || (behavior == "Removed" && invert))) {
    Cut cut;
    absl::StatusOr<RegexNode> node = ParseAny(step, cut.pattern);
    if (node.ok()) {
      cut.regex = *std::move(node);
      // "Remove what does not match" is "cut at matches" when everything matches.
      if (behavior == "Removed") {
        const absl::StatusOr<bool> total = RegexDfa::MatchesEverywhere(cut.regex);
        if (!total.ok() || !*total) cut.kind = Cut::Kind::kOther, cut.settings = step.ToText();
      }
      cuts.push_back(std::move(cut));
      return absl::OkStatus();
    }
    if (CodeOf(node.status()) != ErrorCode::kUnsupported) return node.status();
  }
  AddOther(step, cuts);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Cut>> CutsOf(const JsonValue& pre_tokenizer) {
  std::vector<Cut> cuts;
  SMELT_RETURN_IF_ERROR(Collect(pre_tokenizer, cuts));
  while (!cuts.empty() && cuts.back().kind == Cut::Kind::kOther &&
         cuts.back().settings == "ByteLevel")
    cuts.pop_back();
  return cuts;
}

// nullopt: different. `spelled`: expressions have to be written alike, which is quickly seen.
std::optional<bool> SameExactly(const std::vector<Cut>& a, const std::vector<Cut>& b,
                                bool spelled) {
  if (a.size() != b.size()) return std::nullopt;
  bool exact = true;
  for (size_t i = 0; i < a.size(); ++i) {
    const bool other_a = a[i].kind == Cut::Kind::kOther, other_b = b[i].kind == Cut::Kind::kOther;
    if (other_a != other_b) return std::nullopt;
    if (other_a) {
      if (a[i].settings != b[i].settings) return std::nullopt;
      continue;
    }
    if (a[i].regex == b[i].regex) {
      exact = exact && a[i].kind == b[i].kind;
      continue;
    }
    if (spelled) return std::nullopt;
    const absl::StatusOr<bool> same = RegexDfa::Equivalent(a[i].regex, b[i].regex);
    if (!same.ok() || !*same) return std::nullopt;
    exact = exact && a[i].kind == b[i].kind;
  }
  return exact;
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

bool OnlyLlamaCppKnows(std::string_view name) {
  return IsOneOf(name, "superbpe afmoe tiny_aya cohere2moe jais-2");
}

bool BeginsTexts(std::string_view name) {
  return IsOneOf(name,
                 "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano "
                 "tekken chameleon");
}

std::string KnownPreTokenizers() {
  std::string out;
  for (const PreTokenizerName& entry : PreTokenizerTable())
    out += Cat(out.empty() ? "" : ", ", entry.name);
  return out;
}

absl::StatusOr<PreTokenizerMatch> NamePreTokenizer(const JsonValue& pre_tokenizer,
                                                   bool ignore_merges) {
  SMELT_ASSIGN_OR_RETURN(const std::vector<Cut> cuts, CutsOf(pre_tokenizer));
  const std::string mine = Describe(cuts);
  std::optional<PreTokenizerMatch> found;
  bool found_flag = false;
  std::vector<std::vector<Cut>> table;
  for (const PreTokenizerName& entry : PreTokenizerTable()) {
    SMELT_ASSIGN_OR_RETURN(const JsonValue json, ParseJsonValue(entry.pipeline, entry.name));
    SMELT_ASSIGN_OR_RETURN(std::vector<Cut> known, CutsOf(json));
    table.push_back(std::move(known));
  }
  for (const bool spelled : {true, false}) {
    for (size_t i = 0; i < table.size(); ++i) {
      const PreTokenizerName& entry = PreTokenizerTable()[i];
      const std::optional<bool> exact = SameExactly(cuts, table[i], spelled);
      if (!exact || (found && (found_flag || entry.ignore_merges != ignore_merges))) continue;
      found = PreTokenizerMatch{std::string(entry.name), *exact};
      found_flag = entry.ignore_merges == ignore_merges;
    }
    if (found) return *found;
  }
  constexpr size_t kCompared = 2000;  // bytes: the work grows with their square
  const std::string_view compared = std::string_view(mine).substr(0, kCompared);
  size_t nearest_distance = SIZE_MAX;
  std::string_view nearest;
  std::string nearest_pattern;
  for (size_t i = 0; i < table.size(); ++i) {
    std::string pattern = Describe(table[i]);
    if (const size_t distance =
            EditDistance(compared, std::string_view(pattern).substr(0, kCompared));
        distance < nearest_distance) {
      nearest_distance = distance;
      nearest = PreTokenizerTable()[i].name;
      nearest_pattern = std::move(pattern);
    }
  }
  std::string_view here = mine, there = nearest_pattern;
  KeepDifference(here, there);
  constexpr size_t kWhole = 100, kPart = 40;  // the sentence fits a terminal
  return Error(ErrorCode::kUnsupported, "the pre-tokenizer has no GGUF name: its pattern is ",
               Shown(mine, kWhole), "; nearest is ", nearest, ", with ", Shown(there, kPart),
               " where this has ", Shown(here, kPart), "; --pre NAME insists on one");
}

}  // namespace smelt
