// The compiled matcher against PCRE2, and which expressions mean the same.
#include "lib/text/regex/regex.h"

#include <atomic>
#include <random>
#include <thread>

#include "lib/base/status.h"
#include "lib/base/utf8.h"
#include "lib/text/gguf/pre_names.h"
#include "lib/text/regex/regex_parser.h"
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

// An expression drawn from all that the parser knows.
std::string RandomPattern(std::mt19937& random, int depth) {
  static constexpr const char* kItems[] = {
      "a",   "b", "[ab]",    "[^a\\s]", "\\p{L}", "\\s", ".",         "(?i:a)", "[b-y]",
      "\\d", "x", "(?=\\s)", "(?!a)",   "$",      "\\z", "(?i:[sk])", "\\P{N}", "\\W",
  };
  static constexpr const char* kPcreItems[] = {"\\b",       "\\B",    "^",   "(?<=a)",
                                               "(?<![ab])", "(?=ab)", "\\A", "\\Z"};
  static constexpr const char* kRepeats[] = {"",   "",   "",   "*",   "+",    "?",
                                             "*?", "+?", "??", "{2}", "{,2}", "{1,3}?",
                                             "++", "*+", "?+", "{2}+"};
  std::string out;
  for (size_t branches = random() % 3 + 1; branches > 0; --branches) {
    for (size_t items = random() % 4; items > 0; --items) {
      const size_t kind = random() % 12;
      bool repeats = true;
      if (kind < 3 && depth > 0) {
        static constexpr const char* kOpen[] = {"(", "(?:", "(?i:", "(?>", "(?m:"};
        out += Cat(kOpen[random() % std::size(kOpen)], RandomPattern(random, depth - 1), ")");
      } else if (kind == 3) {
        out += kPcreItems[random() % std::size(kPcreItems)];
        repeats = false;
      } else {
        const std::string_view item = kItems[random() % std::size(kItems)];
        out += item;
        repeats =
            !item.starts_with("(?=") && !item.starts_with("(?!") && item != "$" && item != "\\z";
      }
      if (repeats) out += kRepeats[random() % std::size(kRepeats)];
    }
    if (branches > 1) out += "|";
  }
  return out;
}

// Begin and end of every match; nothing when PCRE2 gave up.
std::optional<std::vector<std::pair<size_t, size_t>>> AllMatches(const Regex& regex,
                                                                 std::string_view text) {
  std::vector<std::pair<size_t, size_t>> out;
  const absl::Status status = regex.ForEachMatch(text, [&](Regex::Match match) {
    out.emplace_back(match.begin, match.end);
    return absl::OkStatus();
  });
  if (!status.ok()) return std::nullopt;
  return out;
}

TEST(Regex, PrintedForPcreItMeansTheSame) {
  std::mt19937 random(5);
  int tables = 0, texts = 0;
  for (int round = 0; round < 3000; ++round) {
    const std::string pattern = RandomPattern(random, 2);
    const auto tree = ParseRegex(pattern);
    ASSERT_TRUE(tree.ok() || CodeOf(tree.status()) == ErrorCode::kUnsupported)
        << pattern << tree.status();
    if (!tree.ok()) continue;
    const auto pcre = Regex::Compile(pattern, RegexEngine::kPcreOnly);
    if (!pcre.ok()) {  // word boundaries take much of what PCRE2 can hold
      EXPECT_NE(pcre.status().message().find("too large"), absl::string_view::npos) << pattern;
      continue;
    }
    // The printed text is in the syntax of both.
    const auto again = ParseRegex(PcreText(*tree));
    SMELT_ASSERT_OK(again) << pattern;
    EXPECT_EQ(PcreText(*again), PcreText(*tree)) << pattern;
    if (!RegexDfa::Compile(*tree).ok()) continue;
    ++tables;
    const auto same = RegexDfa::Equivalent(*tree, *again);
    EXPECT_TRUE(same.ok() && *same) << pattern;
    const auto table = Regex::Compile(pattern);
    SMELT_ASSERT_OK(table) << pattern;
    for (int i = 0; i < 12; ++i) {
      const std::string text = RandomText(random);
      const auto a = AllMatches(*table, text), b = AllMatches(*pcre, text);
      ASSERT_TRUE(a.has_value());
      if (!b) continue;
      ASSERT_EQ(*a, *b) << pattern << " on " << Escape(text);
      ++texts;
    }
  }
  EXPECT_GT(tables, 500);
  EXPECT_GT(texts, 5000);
}

// Whether two compiled expressions are one object.
TEST(Regex, CompiledOnce) {
  const auto compile = [](std::string_view pattern, RegexEngine engine = RegexEngine::kAny) {
    const auto regex = Regex::Compile(pattern, engine);
    EXPECT_TRUE(regex.ok());
    return &regex->pattern();
  };
  const auto first = Regex::Compile("once+");
  SMELT_ASSERT_OK(first);
  EXPECT_EQ(compile("once+"), &first->pattern());
  EXPECT_NE(compile("once+", RegexEngine::kPcreOnly), &first->pattern());
  EXPECT_NE(compile("once*"), &first->pattern());
  EXPECT_EQ(Regex(*first).pattern(), "once+");
  // What was not asked for in a long time is compiled anew, and what is in use stays.
  for (int i = 0; i < 100; ++i) compile(Cat("once{", i % 64, "}", i));
  EXPECT_NE(compile("once+"), &first->pattern());
  EXPECT_TRUE((*first->Find("a oncee", 0)).has_value());
}

TEST(Regex, ManyThreadsShareOneExpression) {
  std::vector<std::thread> threads;
  std::atomic<int> found = 0;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) {
        const auto regex = Regex::Compile(Cat("(?<=x)y{", i % 70, "}"),
                                          i % 2 ? RegexEngine::kAny : RegexEngine::kPcreOnly);
        const auto match = regex->Find(Cat("x", std::string(80, 'y')), 0);
        if (match.ok() && match->has_value() && (*match)->begin == 1) ++found;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(found, 8 * 200);
}

// A class takes its ranges in memory and a boundary four times those of a word character.
TEST(Regex, ManyClassesAreRefusedInTime) {
  for (const char* part : {"\\p{L}", "\\b", "[\\p{L}]", "[[\\w]", "(?i:\\p{L}|[\\p{Ll}])"}) {
    std::string pattern;
    while (pattern.size() < 1'000'000) pattern += part;
    const auto regex = Regex::Compile(pattern);
    EXPECT_EQ(CodeOf(regex.status()), ErrorCode::kUnsupported) << part;
    EXPECT_LT(regex.status().message().size(), 390u);
  }
  std::string listed = "[";
  for (char32_t c = 0x4e00; c < 0x9fa5; c += 2) AppendUtf8(listed, c);
  SMELT_EXPECT_OK(Regex::Compile(listed + "]+").status());
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
    const PreTokenizerStep steps[] = {Split{.pattern = {.text = regex, .is_regex = true}},
                                      ByteLevel{.add_prefix_space = false, .use_regex = false}};
    const auto match = NamePreTokenizer(steps, true);
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

// What the library finds, joined by "|"; a Split does not show its empty matches.
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
      {"(?:(?i)a|b)c", "xBc", "Bc"},
      {"a(?i)b|c", "aB aC C ac", "aB|aC|ac"},  // for PCRE2 "a(?i:b)|(?i:c)"
      {"(?:a(?i)b|c)d", "aBd aCd acD", "aBd|aCd"},
      {"(?i)a(?-i)b", "AB Ab", "Ab"},
      {"(?mi)a.", "A\n", "A\n"},
      {"(?i:\u00e9)", "\u00c9 \u00e9", "\u00c9|\u00e9"},
      {"(?i:[^\u00e9])", "\u00c9 \u00e9 a", " | |a"},
      {"(?i:k)(?i:\u01c5)", "\u212a\u01c4 k\u01c6", "\u212a\u01c4|k\u01c6"},
      {"(?m)^.", "a\nb\n\nc", "a|b|\n|c"},
      {"^.", "ab\ncd\n", "a|c"},
      {R"(\Aa|b\z)", "ab ab", "a|b"},
      {R"(a\Z)", "a a\n", "a"},
      {R"(a\Z)", "a a", "a"},
      {"(?<=x)a{2}+", "xaaaaa", "aaaa"},
      {"(?<=x)a{2}?", "xaaaaa xa", "aa"},
      {"(?<=a|bc)x", "ax bcx cx", "x|x"},
      {"(?<!a|bc)x", "ax bcx cx", "x"},
      {"(?<=^)a", "aa", "a"},
      {R"((?<=\b)a)", "a ba", "a"},
      // More word characters than PCRE2 holds when each \b writes them out.
      {R"(\b\d+\b|\b[a-z]+\b|\b.\b|\B\s\B)", "ab 12 \u00e91 a1  b - \u00e9  !",
       "ab| |12| | |b|\u00e9| "},
      {R"((?:\b\w+\b\s?){2}|\b\w\B|\B\w\b)", "ab cd, e fg", "ab cd|e fg"},
      {"(?!a|bc).", "abcd", "c|d"},
      {"(?=ab)a", "ab ac", "a"},
      {"(?:ab)++a", "ababa", "ababa"},
      {"(?>a|ab)c", "abc ac", "ac"},
      {"(?>a?)a", "aa", "aa"},
      {R"(a(?#x\)y)*)", "aaa", "aaa"},
      {"(?<n>a)(?'m'b)", "ab", "ab"},
      {R"(\a\e)", "\a\x1b", "\a\x1b"},
      {"(?:)*a", "a", "a"},
      {"a{,}", "a{,}", "a{,}"},
  };
  for (const Case& c : kCases) {
    const auto regex = Regex::Compile(c.pattern);
    ASSERT_TRUE(regex.ok()) << c.pattern << regex.status();
    std::string found;
    const std::string_view text = c.text;
    SMELT_EXPECT_OK(regex->ForEachMatch(text, [&](Regex::Match m) {
      if (m.begin < m.end)
        found += Cat(found.empty() ? "" : "|", text.substr(m.begin, m.end - m.begin));
      return absl::OkStatus();
    }));
    EXPECT_EQ(found, c.found) << c.pattern << " on " << Escape(text);
  }
  for (const char* refused :
       {R"([\d-a])", "[[:foo:]]", "[]", "[a[]]", "a(?i)*", "(?<1n>a)", "a(?#b", "(?<!a"})
    EXPECT_EQ(CodeOf(Regex::Compile(refused).status()), ErrorCode::kInvalidInput) << refused;
  for (const char* refused :
       {R"(\X)", R"(\R)", "(?x: a)", R"(\p{InGreek})", R"(\xe9)", "(?i:ss)", "(?i:aFf)",
        "(?i:\u00df)", "a{70000}", "(?~ab)", "(?<=a*)x", R"((a)\1)"})
    EXPECT_EQ(CodeOf(Regex::Compile(refused).status()), ErrorCode::kUnsupported) << refused;
}

TEST(PreTokenizerNames, EveryPipelineHasItsNameAndEveryNameItsPipeline) {
  for (const PreTokenizerName& entry : PreTokenizerTable()) {
    EXPECT_EQ(entry.known, !entry.steps.empty()) << entry.name;
    if (!entry.known) continue;
    const auto match = NamePreTokenizer(entry.steps, entry.ignore_merges);
    SMELT_ASSERT_OK(match);
    EXPECT_EQ(match->name, entry.name);
    EXPECT_TRUE(match->exact) << entry.name;
  }
  for (const char* name : {"command-r", "glm4", "stablelm2", "poro-chat", "minimax-m2", "hy_v4"})
    EXPECT_NE(FindPipelineOf(name), nullptr) << name;
  for (const char* name : {"superbpe", "jais-2"}) {
    EXPECT_NE(FindPreTokenizer(name), nullptr) << name;
    EXPECT_EQ(FindPipelineOf(name), nullptr) << name;
  }
  EXPECT_EQ(FindPreTokenizer("super"), nullptr);
}

TEST(PreTokenizerNames, ARefusalShowsThePatternAndTheNearest) {
  const PreTokenizerStep steps[] = {Split{
      .pattern = {
          .text =
              R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}{2}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
          .is_regex = true}}};
  const auto match = NamePreTokenizer(steps, false);
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
  for (const char* pattern : {"(*LIMIT_MATCH=1)a", R"(\Qa.b\E)", R"(a\R)"})
    EXPECT_FALSE(Regex::Compile(pattern).ok()) << pattern;
}

}  // namespace
}  // namespace smelt
