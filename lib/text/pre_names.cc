#include "lib/text/pre_names.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "lib/base/status.h"
#include "lib/text/normalizer.h"
#include "lib/text/pre_tokenizer.h"
#include "lib/text/regex_dfa.h"

namespace smelt {
namespace {

#define SMELT_BYTES R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":false})"
#define SMELT_SPLIT(regex) \
  R"({"type":"Split","pattern":{"Regex":")" regex R"("},"behavior":"Isolated","invert":false})"
#define SMELT_LIST(steps) R"({"type":"Sequence","pretokenizers":[)" steps "," SMELT_BYTES "]}"
#define SMELT_GPT2 R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":true})"
#define SMELT_CONTRACTIONS R"((?i:'s|'t|'re|'ve|'m|'ll|'d))"
#define SMELT_TAIL R"( ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+)"
#define SMELT_UPPER R"([\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}])"
#define SMELT_LOWER R"([\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}])"
#define SMELT_SLASH_TAIL R"( ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+)"

constexpr PreTokenizerName kNames[] = {
    {"gpt-2", "mpt olmo jais trillion", false, SMELT_GPT2},
    {"smollm", "starcoder refact command-r codeshell exaone minerva-7b", false,
     R"({"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},)" SMELT_GPT2
     "]}"},
    {"llama-bpe", "llama3 llama-v3 falcon3 pixtral", true,
     SMELT_LIST(SMELT_SPLIT(SMELT_CONTRACTIONS
                            R"(|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|)" SMELT_TAIL))},
    {"dbrx", "smaug-bpe", false,
     SMELT_LIST(SMELT_SPLIT(SMELT_CONTRACTIONS
                            R"(|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|)" SMELT_TAIL))},
    {"qwen2", "stablelm2 deepseek-r1-qwen megrez hunyuan", false,
     SMELT_LIST(
         SMELT_SPLIT(SMELT_CONTRACTIONS R"(|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|)" SMELT_TAIL))},
    {"gpt-4o", "llama4", false,
     SMELT_LIST(SMELT_SPLIT(R"([^\\r\\n\\p{L}\\p{N}]?)" SMELT_UPPER "*" SMELT_LOWER
                            "+" SMELT_CONTRACTIONS R"(?|[^\\r\\n\\p{L}\\p{N}]?)" SMELT_UPPER
                            "+" SMELT_LOWER "*" SMELT_CONTRACTIONS
                            R"(?|\\p{N}{1,3}|)" SMELT_SLASH_TAIL))},
    {"tekken", "", true,
     SMELT_LIST(SMELT_SPLIT(R"([^\\r\\n\\p{L}\\p{N}]?)" SMELT_UPPER "*" SMELT_LOWER
                            R"(+|[^\\r\\n\\p{L}\\p{N}]?)" SMELT_UPPER "+" SMELT_LOWER
                            R"(*|\\p{N}|)" SMELT_SLASH_TAIL))},
    {"deepseek-v3", "", false,
     SMELT_LIST(SMELT_SPLIT(R"(\\p{N}{1,3})") "," SMELT_SPLIT(
         "[\xe4\xb8\x80-"
         "\xe9\xbe\xa5\xe3\x81\x80-"
         "\xe3\x82\x9f\xe3\x82\xa0-"
         "\xe3\x83\xbf]+") "," SMELT_SPLIT(R"([!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+)"))},
    {"falcon", "", false,
     R"({"type":"Sequence","pretokenizers":[{"type":"Punctuation","behavior":"Contiguous"},)" SMELT_GPT2
     R"(,{"type":"Digits","individual_digits":false},)" SMELT_SPLIT("[0-9][0-9][0-9]") "]}"},
};

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
  cut.pattern = cut.settings;
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

// nullopt: different.
std::optional<bool> SameExactly(const std::vector<Cut>& a, const std::vector<Cut>& b) {
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

size_t CommonPrefix(std::string_view a, std::string_view b) {
  return static_cast<size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first -
                             a.begin());
}

}  // namespace

const PreTokenizerName* FindPreTokenizer(std::string_view name) {
  for (const PreTokenizerName& entry : kNames) {
    if (entry.name == name) return &entry;
    std::string_view rest = entry.same;
    while (!rest.empty()) {
      const std::string_view one = rest.substr(0, rest.find(' '));
      if (one == name) return &entry;
      rest.remove_prefix(std::min(rest.size(), one.size() + 1));
    }
  }
  return nullptr;
}

std::string KnownPreTokenizers() {
  std::string out;
  for (const PreTokenizerName& entry : kNames) out += Cat(out.empty() ? "" : ", ", entry.name);
  return out;
}

absl::StatusOr<PreTokenizerMatch> NamePreTokenizer(const JsonValue& pre_tokenizer,
                                                   bool ignore_merges) {
  SMELT_ASSIGN_OR_RETURN(const std::vector<Cut> cuts, CutsOf(pre_tokenizer));
  const std::string mine = Describe(cuts);
  std::optional<PreTokenizerMatch> found;
  bool found_flag = false;
  size_t nearest_length = 0;
  std::string nearest, nearest_pattern;
  for (const PreTokenizerName& entry : kNames) {
    SMELT_ASSIGN_OR_RETURN(const JsonValue json, ParseJsonValue(entry.pipeline, entry.name));
    SMELT_ASSIGN_OR_RETURN(const std::vector<Cut> known, CutsOf(json));
    const std::optional<bool> exact = SameExactly(cuts, known);
    if (exact && (!found || (!found_flag && entry.ignore_merges == ignore_merges))) {
      found = PreTokenizerMatch{std::string(entry.name), *exact};
      found_flag = entry.ignore_merges == ignore_merges;
    }
    const std::string pattern = Describe(known);
    if (const size_t length = CommonPrefix(mine, pattern);
        nearest.empty() || length > nearest_length) {
      nearest_length = length;
      nearest = entry.name;
      nearest_pattern = pattern;
    }
  }
  if (found) return *found;
  const auto rest = [&](const std::string& text) {
    return Escape(text.substr(std::min(nearest_length, text.size())), 24);
  };
  return Error(ErrorCode::kUnsupported, "the pre-tokenizer has no GGUF name: its pattern is ",
               Escape(mine, 70), "; nearest is ", nearest, ", with ", rest(nearest_pattern),
               " where this has ", rest(mine), "; --pre NAME insists on one (",
               KnownPreTokenizers(), ")");
}

}  // namespace smelt
