// The compiled matcher against PCRE2, and which expressions mean the same.
#include "lib/text/regex/regex.h"

#include <random>

#include "lib/base/status.h"
#include "lib/base/utf8.h"
#include "lib/text/gguf/pre_names.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

constexpr const char* kPatterns[] = {
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)",
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*)",
    R"(a{2,4}?|ab*c|(?:x|xy)z?|\d+(?=[a-z]))",
};

// Text in which what the patterns tell apart stands side by side.
std::string RandomText(std::mt19937& random) {
  static constexpr char32_t kCharacters[] = {
      ' ',   ' ',   '\n',   '\r',   '\t',   'a',     'b',    'c',   's',    't',   'S',   'x',
      'y',   'z',   '\'',   '1',    '2',    '.',     '/',    '-',   0xa0,   0xe9,  0x17f, 0x301,
      0x1c5, 0x663, 0x4e00, 0x3042, 0x2028, 0x1f600, 0x2080, 0x5d0, 0x00aa, 0x212a};
  std::string text;
  const size_t length = random() % 24;
  for (size_t i = 0; i < length; ++i)
    AppendUtf8(text, kCharacters[random() % std::size(kCharacters)]);
  return text;
}

TEST(Regex, CompiledMatcherAgreesWithPcre) {
  std::mt19937 random(1);
  for (const char* pattern : kPatterns) {
    const auto compiled = Regex::Compile(pattern),
               pcre = Regex::Compile(pattern, RegexEngine::kPcreOnly);
    SMELT_ASSERT_OK(compiled);
    SMELT_ASSERT_OK(pcre);
    for (int round = 0; round < 4000; ++round) {
      const std::string text = RandomText(random);
      for (size_t at = 0; at < text.size();) {
        const auto a = compiled->Find(text, at), b = pcre->Find(text, at);
        ASSERT_TRUE(a.ok() && b.ok());
        ASSERT_EQ(a->has_value(), b->has_value()) << pattern << " on " << Escape(text);
        if (!a->has_value()) break;
        ASSERT_EQ((*a)->begin, (*b)->begin) << pattern << " on " << Escape(text);
        ASSERT_EQ((*a)->end, (*b)->end) << pattern << " on " << Escape(text);
        at = (*a)->end > at ? (*a)->end : at + DecodeUtf8(std::string_view(text).substr(at)).length;
      }
    }
  }
}

bool Same(const char* a, const char* b) {
  const auto x = ParseRegex(a), y = ParseRegex(b);
  EXPECT_TRUE(x.ok() && y.ok());
  const auto same = RegexDfa::Equivalent(*x, *y);
  EXPECT_TRUE(same.ok());
  return same.ok() && *same;
}

TEST(Regex, MeaningNotSpelling) {
  EXPECT_TRUE(Same(R"((?:'s|'t)|\s+)", R"('(?:s|t)|[\s]+)"));
  EXPECT_TRUE(Same(R"(\p{N}{1,3})", R"(\p{N}\p{N}?\p{N}?)"));
  EXPECT_TRUE(Same(R"((?i:'s))", R"('[sSſ])"));
  EXPECT_FALSE(Same(R"(\p{N}{1,3})", R"(\p{N})"));
  EXPECT_FALSE(Same("a|ab", "ab|a"));
  EXPECT_FALSE(Same(R"(\s+(?!\S)|\s+)", R"(\s+)"));
}

TEST(Regex, InvalidIsRefused) {
  EXPECT_EQ(CodeOf(Regex::Compile("a(b").status()), ErrorCode::kInvalidInput);
  EXPECT_EQ(CodeOf(Regex::Compile("[z-a]").status()), ErrorCode::kInvalidInput);
}

TEST(Regex, BacktrackingEndsInTime) {
  const auto regex = Regex::Compile("(a+)+\\b(?<=c)");  // lookbehind keeps it from being compiled
  SMELT_ASSERT_OK(regex);
  const auto found = regex->Find(std::string(60, 'a') + "b", 0);
  EXPECT_TRUE(!found.ok() || !found->has_value());
}

TEST(Regex, ALongTextEndsInTimeToo) {
  const auto matches = [](std::string_view pattern, std::string_view text) -> absl::StatusOr<int> {
    const auto regex = Regex::Compile(pattern, RegexEngine::kPcreOnly);
    if (!regex.ok()) return regex.status();
    int count = 0;
    const absl::Status status = regex->ForEachMatch(text, [&](Regex::Match) {
      ++count;
      return absl::OkStatus();
    });
    if (!status.ok()) return status;
    return count;
  };
  // From every place PCRE2 would take millions of steps, at each of them anew.
  std::string words;
  for (int i = 0; i < 10'000; ++i) words += "xxxxxxxxxxxxxxxxxxx ";
  for (const std::string& text : {std::string(200'000, 'x'), words}) {
    for (const std::string_view pattern : {"(?:x+x+)+y", "(?:x|xx)+y"}) {
      const auto count = matches(pattern, text);
      EXPECT_EQ(CodeOf(count.status()), ErrorCode::kUnsupported) << pattern;
      EXPECT_NE(count.status().message().find("more steps"), absl::string_view::npos);
    }
  }
  // Long matches and many matches are no reason to stop.
  EXPECT_EQ(
      *matches("(?:\\p{N}|\\p{S})+", std::string(20'000, '7') + " " + std::string(20'000, '+')), 2);
  EXPECT_EQ(*matches("(?:x|xx)+ ", words), 10'000);
  EXPECT_EQ(*matches("(?<!x)x", words), 10'000);
}

TEST(PreTokenizerNames, VariantsOfOneExpressionHaveOneName) {
  const auto name = [](const char* regex) -> std::string {
    const std::string json = Cat(
        R"({"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":)",
        JsonQuote(regex),
        R"(},"behavior":"Isolated"},{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]})");
    const auto match = NamePreTokenizer(*ParseJsonValue(json, "test"), true);
    return match.ok() ? match->name : std::string(match.status().message());
  };
  EXPECT_EQ(
      name(
          R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"),
      "llama-bpe");
  EXPECT_EQ(
      name(
          R"((?:'[sS]|'ſ|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?[\p{L}]+|\p{N}{1,3}|[ ]?[^\s\p{L}\p{N}]+[\n\r]*|\s*[\r\n]+|\s+(?!\S)|\s+)"),
      "llama-bpe");
  const std::string refusal = name(R"(\p{L}+|\p{N}{1,2}|.)");
  EXPECT_NE(refusal.find("--pre"), std::string::npos) << refusal;
  EXPECT_LT(refusal.size(), 700u);
}

// What the library finds, joined by "|".
TEST(Regex, ClassesOptionsAndPossessiveQuantifiers) {
  struct Case {
    const char *pattern, *text, *found;
  };
  constexpr Case kCases[] = {
      {R"([\p{L}&&[^\p{Han}]]+)", "ab\u4e00c1", "ab|c"},
      {R"([a-z&&[^aeiou]&&\w]+)", "abcde", "bcd"},
      {R"([^a-z&&b]+)", "abc1", "a|c1"},
      {R"([a&&&b]|&)", "ab&", "&"},
      {R"([a-c-e]+)", "a-ed", "a-e"},
      {R"([]a]+)", "a]b", "a]"},
      {R"([[a]-c]+)", "a-bc", "a-|c"},
      {R"([[:alpha:]]+|[[:^alpha:][:digit:]]+)", "a\u00e912 ", "a\u00e9|12 "},
      {R"(\p{greek}+|\p{Old_Italic}|\P{^Hiragana})", "\u03b1\u0391a\u3042", "\u03b1\u0391|\u3042"},
      {R"((?i:[^s])+)", "aSs\u017fb", "a|b"},
      {R"((?i:\p{Lu})+)", "aAbB", "A|B"},
      {R"((?m:a.)|b.)", "a\nb\n", "a\n"},
      {R"((?im-i:a.))", "A\na\n", "a\n"},
      {R"(a?+a)", "aaa", "aa"},
      {R"(a++a|b)", "aaab", "b"},
      {R"(a{1,2}+a)", "aab aaa", "aa|aaa"},
      {R"(\s+$)", "ab \ncd \n", " | \n"},
      {R"(.$)", "ab\ncd", "b|d"},
  };
  for (const Case& c : kCases) {
    const auto regex = Regex::Compile(c.pattern);
    ASSERT_TRUE(regex.ok()) << c.pattern << regex.status();
    std::string found;
    const std::string_view text = c.text;
    SMELT_EXPECT_OK(regex->ForEachMatch(text, [&](Regex::Match m) {
      found += Cat(found.empty() ? "" : "|", text.substr(m.begin, m.end - m.begin));
      return absl::OkStatus();
    }));
    EXPECT_EQ(found, c.found) << c.pattern << " on " << Escape(text);
  }
  for (const char* refused : {R"([\d-a])", "[[:foo:]]", "[]", "[a[]]"})
    EXPECT_EQ(CodeOf(Regex::Compile(refused).status()), ErrorCode::kInvalidInput) << refused;
  for (const char* refused : {R"(\X)", R"(\R)", "(?x: a)", R"(\p{InGreek})"})
    EXPECT_EQ(CodeOf(Regex::Compile(refused).status()), ErrorCode::kUnsupported) << refused;
}

TEST(PreTokenizerNames, EveryPipelineHasItsNameAndEveryNameItsPipeline) {
  for (const PreTokenizerName& entry : PreTokenizerTable()) {
    const auto json = ParseJsonValue(entry.pipeline, entry.name);
    SMELT_ASSERT_OK(json);
    const auto match = NamePreTokenizer(*json, entry.ignore_merges);
    SMELT_ASSERT_OK(match);
    EXPECT_EQ(match->name, entry.name);
    EXPECT_TRUE(match->exact) << entry.name;
  }
  for (const char* name : {"command-r", "glm4", "stablelm2", "poro-chat", "minimax-m2", "hy_v4"})
    EXPECT_NE(FindPreTokenizer(name), nullptr) << name;
  EXPECT_EQ(FindPreTokenizer("superbpe"), nullptr);
  EXPECT_TRUE(OnlyLlamaCppKnows("superbpe"));
  EXPECT_FALSE(OnlyLlamaCppKnows("super"));
}

TEST(PreTokenizerNames, ARefusalShowsThePatternAndTheNearest) {
  const auto match = NamePreTokenizer(
      *ParseJsonValue(
          R"({"type":"Split","pattern":{"Regex":"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}{2}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},"behavior":"Isolated"})",
          "test"),
      false);
  const std::string text(match.status().message());
  EXPECT_NE(text.find(R"(|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}{2}| ?[^\s\p{L}\p{M}\p{N}]+)"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find(R"(nearest is qwen35, with \p{N} where this has \p{N}{2};)"),
            std::string::npos)
      << text;
}

// Found by the fuzzer of expressions: time or stack without end, matches unlike the library's.
TEST(Regex, RepeatsOfRepeatsEnd) {
  std::string nothing = "()", many = "a";
  for (int i = 0; i < 40; ++i) nothing += "{64}";
  many.append(200000, '*');
  for (const std::string& pattern : {nothing, many}) {
    const auto regex = Regex::Compile(pattern);
    ASSERT_FALSE(regex.ok());
    EXPECT_LT(regex.status().message().size(), 390u);
  }
}

TEST(Regex, LetterCaseInsideAGroup) {
  const auto regex = Regex::Compile("(?:(?i)a|b)c");
  SMELT_ASSERT_OK(regex);
  const auto match = regex->Find("xBc", 0);
  SMELT_ASSERT_OK(match);
  ASSERT_TRUE(match->has_value());
  EXPECT_EQ((*match)->begin, 1u);
  // For the library "a(?i:b|c)", for PCRE2 "a(?i:b)|(?i:c)".
  EXPECT_FALSE(Regex::Compile("a(?i)b|c").ok());
}

// What Oniguruma and PCRE2 understand differently; the splits are those of tokenizers 0.23.3.
TEST(Regex, AsTheLibraryUnderstandsIt) {
  struct Case {
    const char *pattern, *text;
    std::vector<std::pair<size_t, size_t>> matches;
  };
  const Case cases[] = {
      {"ba{2}?", "baabaaab", {{0, 3}, {3, 6}, {7, 8}}},
      {"ba{,2}", "baabaaab", {{0, 3}, {3, 6}, {7, 8}}},
      {"(?<=x)ba{,2}", "xbaaa", {{1, 4}}},
      {"a{2}+", "aaaaab", {{0, 4}}},
      {R"(\v)", "a\vb\xc2\x85", {{1, 2}}},
      {R"((?<=a)\v)", "a\va\xc2\x85", {{1, 2}}},
      {R"(\B.)", "\xc3\xa9\xc3\xa9 a", {{2, 4}}},
      {R"((?<=x)\u0041)", "xA", {{1, 2}}},
  };
  for (const Case& c : cases) {
    const auto regex = Regex::Compile(c.pattern);
    SMELT_ASSERT_OK(regex);
    std::vector<std::pair<size_t, size_t>> matches;
    const std::string_view text = c.text;
    for (size_t at = 0; at < text.size();) {
      const auto match = regex->Find(text, at);
      SMELT_ASSERT_OK(match);
      if (!match->has_value()) break;
      matches.emplace_back((*match)->begin, (*match)->end);
      at = (*match)->end;
    }
    EXPECT_EQ(matches, c.matches) << c.pattern;
  }
  for (const char* pattern :
       {"(?<=x)a{2}+", "(?<=x)a{2}?", "(*LIMIT_MATCH=1)a", "(?m)^.", R"(\Qa.b\E)", R"(a\R)"})
    EXPECT_FALSE(Regex::Compile(pattern).ok()) << pattern;
}

}  // namespace
}  // namespace smelt
