// Every pre-tokenizer against the `tokenizers` library.
#include "lib/text/components/pre_tokenizer.h"

#include "lib/base/json.h"
#include "lib/base/status.h"
#include "lib/text/components/byte_level.h"
#include "lib/text/components/text_start.h"
#include "lib/text/spec/component_json.h"
#include "tests/testing/testing.h"

namespace smelt::testing {
namespace {

using Words = std::vector<std::string>;

absl::StatusOr<std::vector<PreTokenizerStep>> Read(std::string_view json) {
  SMELT_ASSIGN_OR_RETURN(const JsonValue value, ParseJsonValue(json, "test"));
  return ReadPreTokenizers(&value, "test", Members::kAny);
}

absl::StatusOr<PreTokenizer> Make(std::string_view json) {
  SMELT_ASSIGN_OR_RETURN(const std::vector<PreTokenizerStep> steps, Read(json));
  return PreTokenizer::Make(steps, RegexEngine::kAny);
}

/// The words that the pre-tokenizer of a tokenizer.json makes of a text.
Words WordsOf(std::string_view json, std::string_view text) {
  const auto splits = Make(json);
  EXPECT_TRUE(splits.ok()) << splits.status();
  Words words;
  SMELT_EXPECT_OK(splits->Split({text, StartOf(text)}, [&](TextPiece piece) {
    if (LeavesBytes(*Read(json))) {
      AppendByteLevel(words.emplace_back(), piece.text);
    } else {
      words.emplace_back(piece.text);
    }
    return absl::OkStatus();
  }));
  return words;
}

struct GoldenCuts {
  std::string_view json;
  std::vector<std::pair<std::string_view, Words>> cases;
};

// No text is empty: what is cut never is.
// tokenizers 0.23.3: Tokenizer.from_str(json.dumps({..., "pre_tokenizer": JSON}))
//     .pre_tokenizer.pre_tokenize_str(TEXT), without the offsets
const GoldenCuts kCut[] = {
    {R"({"type": "BertPreTokenizer"})",
     {{"Hello, world! it's 12 ok.", {"Hello", ",", "world", "!", "it", "'", "s", "12", "ok", "."}},
      {"  a  b\302\240\343\200\200c ", {"a", "b", "c"}},
      {"naïve-x_y (z) «q»", {"naïve", "-", "x", "_", "y", "(", "z", ")", "«", "q", "»"}},
      {"中文a，\355\225\234\352\265\255\354\226\264１２３",
       {"中文a", "，", "\355\225\234\352\265\255\354\226\264１２３"}},
      {"a\n\tb\r\n", {"a", "b"}},
      {"e\314\201!? ½²", {"e\314\201", "!", "?", "½²"}}}},
    {R"({"type": "Whitespace"})",
     {{"Hello, world! it's 12 ok.", {"Hello", ",", "world", "!", "it", "'", "s", "12", "ok", "."}},
      {"  a  b\302\240\343\200\200c ", {"a", "b", "c"}},
      {"naïve-x_y (z) «q»", {"naïve", "-", "x_y", "(", "z", ")", "«", "q", "»"}},
      {"中文a，\355\225\234\352\265\255\354\226\264１２３",
       {"中文a", "，", "\355\225\234\352\265\255\354\226\264１２３"}},
      {"a\n\tb\r\n", {"a", "b"}},
      {"e\314\201!? ½²", {"e\314\201", "!?", "½²"}}}},
    {R"({"type": "WhitespaceSplit"})",
     {{"Hello, world! it's 12 ok.", {"Hello,", "world!", "it's", "12", "ok."}},
      {"  a  b\302\240\343\200\200c ", {"a", "b", "c"}},
      {"naïve-x_y (z) «q»", {"naïve-x_y", "(z)", "«q»"}},
      {"中文a，\355\225\234\352\265\255\354\226\264１２３",
       {"中文a，\355\225\234\352\265\255\354\226\264１２３"}},
      {"a\n\tb\r\n", {"a", "b"}},
      {"e\314\201!? ½²", {"e\314\201!?", "½²"}}}},
    {R"({"type": "Punctuation", "behavior": "Removed"})",
     {{"a,,b. c", {"a", "b", " c"}}, {"«x»!?", {"x"}}, {"...", {}}}},
    {R"({"type": "Punctuation", "behavior": "Isolated"})",
     {{"a,,b. c", {"a", ",", ",", "b", ".", " c"}},
      {"«x»!?", {"«", "x", "»", "!", "?"}},
      {"...", {".", ".", "."}}}},
    {R"({"type": "Punctuation", "behavior": "MergedWithPrevious"})",
     {{"a,,b. c", {"a,", ",", "b.", " c"}},
      {"«x»!?", {"«", "x»", "!", "?"}},
      {"...", {".", ".", "."}}}},
    {R"({"type": "Punctuation", "behavior": "MergedWithNext"})",
     {{"a,,b. c", {"a", ",", ",b", ". c"}},
      {"«x»!?", {"«x", "»", "!", "?"}},
      {"...", {".", ".", "."}}}},
    {R"({"type": "Punctuation", "behavior": "Contiguous"})",
     {{"a,,b. c", {"a", ",,", "b", ".", " c"}}, {"«x»!?", {"«", "x", "»!?"}}, {"...", {"..."}}}},
    {R"({"type": "Digits", "individual_digits": true})",
     {{"a12b ３４ ½", {"a", "1", "2", "b ", "３", "４", " ", "½"}}, {"123", {"1", "2", "3"}}}},
    {R"({"type": "Digits", "individual_digits": false})",
     {{"a12b ３４ ½", {"a", "12", "b ", "３４", " ", "½"}}, {"123", {"123"}}}},
    {R"({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true})",
     {{"Hello, world! it's 12 ok.", {"Hello", ",", "Ġworld", "!", "Ġit", "'s", "Ġ12", "Ġok", "."}},
      {"  a  b\302\240\343\200\200c ", {"Ġ", "Ġa", "Ġ", "Ġb", "Âł", "ãĢĢ", "c", "Ġ"}},
      {"naïve-x_y (z) «q»", {"naÃ¯ve", "-", "x", "_", "y", "Ġ(", "z", ")", "ĠÂ«", "q", "Â»"}},
      {"中文a，\355\225\234\352\265\255\354\226\264１２３",
       {"ä¸Ńæĸĩa", "ï¼Į", "íķľêµŃìĸ´", "ï¼ĳï¼Ĵï¼ĵ"}},
      {"a\n\tb\r\n", {"a", "Ċ", "ĉ", "b", "čĊ"}},
      {"e\314\201!? ½²", {"e", "Ìģ!?", "ĠÂ½Â²"}},
      {" it's  x", {"Ġit", "'s", "Ġ", "Ġx"}},
      {"é", {"Ã©"}}}},
    {R"({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true})",
     {{"a b", {"Ġa", "Ġb"}}, {" a", {"Ġa"}}, {"é", {"ĠÃ©"}}}},
    {R"({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": false})",
     {{"a b", {"ĠaĠb"}}, {" a", {"Ġa"}}}},
    {R"({"type": "CharDelimiterSplit", "delimiter": "-"})",
     {{"a-b--c-", {"a", "b", "c"}}, {"-", {}}}},
    {R"({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true})",
     {{"Hello  world", {"▁Hello", "▁", "▁world"}}, {" a", {"▁a"}}, {"▁b", {"▁b"}}}},
    {R"({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": false})",
     {{"Hello  world", {"▁Hello▁▁world"}}, {" a", {"▁a"}}, {"▁b", {"▁b"}}}},
    {R"({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": true})",
     {{"Hello  world", {"Hello", "▁", "▁world"}}, {" a", {"▁a"}}, {"▁b", {"▁b"}}}},
    {R"({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": false})",
     {{"Hello  world", {"Hello▁▁world"}}, {" a", {"▁a"}}, {"▁b", {"▁b"}}}},
    {R"({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": true})",
     {{"Hello  world", {"▁Hello", "▁", "▁world"}}, {" a", {"▁a"}}, {"▁b", {"▁b"}}}},
    {R"({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false})",
     {{"Hello  world", {"▁Hello▁▁world"}}, {" a", {"▁a"}}, {"▁b", {"▁b"}}}},
    {R"({"type": "Split", "pattern": {"String": "ab"}, "behavior": "Removed", "invert": false})",
     {{"xabyab", {"x", "y"}}, {"ababx", {"x"}}, {"ab", {}}, {"xyz", {"xyz"}}}},
    {R"({"type": "Split", "pattern": {"String": "ab"}, "behavior": "Removed", "invert": true})",
     {{"xabyab", {"ab", "ab"}}, {"ababx", {"ab", "ab"}}, {"ab", {"ab"}}, {"xyz", {}}}},
    {R"({"type": "Split", "pattern": {"String": "ab"}, "behavior": "Isolated", "invert": false})",
     {{"xabyab", {"x", "ab", "y", "ab"}},
      {"ababx", {"ab", "ab", "x"}},
      {"ab", {"ab"}},
      {"xyz", {"xyz"}}}},
    {R"({"type": "Split", "pattern": {"String": "ab"}, "behavior": "Isolated", "invert": true})",
     {{"xabyab", {"x", "ab", "y", "ab"}},
      {"ababx", {"ab", "ab", "x"}},
      {"ab", {"ab"}},
      {"xyz", {"xyz"}}}},
    {R"({"type": "Split", "pattern": {"String": "ab"}, "behavior": "MergedWithPrevious", "invert": false})",
     {{"xabyab", {"xab", "yab"}}, {"ababx", {"ab", "ab", "x"}}, {"ab", {"ab"}}, {"xyz", {"xyz"}}}},
    {R"({"type": "Split", "pattern": {"String": "ab"}, "behavior": "MergedWithPrevious", "invert": true})",
     {{"xabyab", {"x", "aby", "ab"}}, {"ababx", {"ab", "abx"}}, {"ab", {"ab"}}, {"xyz", {"xyz"}}}},
    {R"({"type": "Split", "pattern": {"String": "ab"}, "behavior": "MergedWithNext", "invert": false})",
     {{"xabyab", {"x", "aby", "ab"}}, {"ababx", {"ab", "abx"}}, {"ab", {"ab"}}, {"xyz", {"xyz"}}}},
    {R"({"type": "Split", "pattern": {"String": "ab"}, "behavior": "MergedWithNext", "invert": true})",
     {{"xabyab", {"xab", "yab"}}, {"ababx", {"ab", "ab", "x"}}, {"ab", {"ab"}}, {"xyz", {"xyz"}}}},
    {R"({"type": "Split", "pattern": {"String": "ab"}, "behavior": "Contiguous", "invert": false})",
     {{"xabyab", {"x", "ab", "y", "ab"}},
      {"ababx", {"abab", "x"}},
      {"ab", {"ab"}},
      {"xyz", {"xyz"}}}},
    {R"({"type": "Split", "pattern": {"String": "ab"}, "behavior": "Contiguous", "invert": true})",
     {{"xabyab", {"x", "ab", "y", "ab"}},
      {"ababx", {"abab", "x"}},
      {"ab", {"ab"}},
      {"xyz", {"xyz"}}}},
    {R"({"type": "Split", "pattern": {"Regex": "\\d+|\\s"}, "behavior": "Isolated", "invert": false})",
     {{"a1 22b", {"a", "1", " ", "22", "b"}}, {"7", {"7"}}}},
    {R"({"type": "Split", "pattern": {"Regex": "\\w*"}, "behavior": "Isolated", "invert": false})",
     {{"ab, c", {"ab", ",", " ", "c"}}}},
    {R"({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, {"type": "Punctuation", "behavior": "Isolated"}, {"type": "Digits", "individual_digits": true}]})",
     {{"ab, 12c!", {"ab", ",", "1", "2", "c", "!"}}}},
    {R"({"type": "Sequence", "pretokenizers": [{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}, {"type": "Digits", "individual_digits": true}]})",
     {{"a² b1", {"a", "Â", "²", "Ġb", "1"}}, {"½", {"Â", "½"}}}},
};

TEST(PreTokenizer, EachIsThatOfTheLibrary) {
  for (const GoldenCuts& golden : kCut) {
    for (const auto& [text, words] : golden.cases)
      EXPECT_EQ(WordsOf(golden.json, text), words) << golden.json << " of " << JsonQuote(text);
  }
}

// Metaspace's scheme "first": only where a part stands for the beginning of the text.
TEST(PreTokenizer, APartThatDoesNotBeginTheTextGetsNoSpace) {
  const auto splits =
      Make(R"({"type":"Metaspace","replacement":"_","prepend_scheme":"first","split":true})");
  SMELT_ASSERT_OK(splits);
  for (const size_t start : {0, 1}) {
    Words words;
    SMELT_EXPECT_OK(splits->Split({"a b", start}, [&](TextPiece piece) {
      words.emplace_back(piece.text);
      return absl::OkStatus();
    }));
    EXPECT_EQ(words, start == 0 ? (Words{"a", "_b"}) : (Words{"_a", "_b"}));
  }
}

TEST(PreTokenizer, AnErrorEndsTheSplit) {
  const auto splits = Make(R"({"type":"WhitespaceSplit"})");
  SMELT_ASSERT_OK(splits);
  int calls = 0;
  const absl::Status status = splits->Split({"a b c", 1}, [&](TextPiece) {
    return ++calls == 2 ? Error(ErrorCode::kCancelled, "enough") : absl::OkStatus();
  });
  EXPECT_EQ(CodeOf(status), ErrorCode::kCancelled);
  EXPECT_EQ(calls, 2);
}

TEST(PreTokenizer, OneThatIsNotKnownIsRefusedByName) {
  const auto made = Make(R"({"type":"Sequence","pretokenizers":[{"type":"UnicodeScripts"}]})");
  ASSERT_FALSE(made.ok());
  EXPECT_NE(std::string(made.status().message()).find("UnicodeScripts"), std::string::npos);
}

}  // namespace
}  // namespace smelt::testing
