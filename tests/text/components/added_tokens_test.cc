// Added tokens inside texts, against the `tokenizers` library.
#include "lib/text/components/added_tokens.h"

#include <utility>

#include "lib/base/json.h"
#include "lib/base/status.h"
#include "tests/testing/testing.h"

namespace smelt::testing {
namespace {

struct Flags {
  std::string content;
  bool single_word, lstrip, rstrip;
};
using Parts = std::vector<std::pair<std::string, int32_t>>;  // of the text, -1: no token
struct GoldenAddedTokens {
  std::vector<Flags> tokens;  // their ids count from 1
  std::vector<std::pair<std::string, Parts>> cases;
};

AddedTokenMatcher Matcher(const std::vector<Flags>& tokens) {
  AddedTokenMatcher matcher;
  int32_t id = 0;
  for (const Flags& flags : tokens) {
    AddedToken token;
    token.id = ++id;
    token.content = flags.content;
    token.single_word = flags.single_word;
    token.lstrip = flags.lstrip;
    token.rstrip = flags.rstrip;
    matcher.Add(token, token.content);
  }
  return matcher;
}

Parts PartsOf(const AddedTokenMatcher& matcher, std::string_view text,
              bool special_as_text = false) {
  Parts parts;
  SMELT_EXPECT_OK(matcher.Split(text, special_as_text, [&](std::string_view part, int32_t id) {
    parts.emplace_back(part, id);
    return absl::OkStatus();
  }));
  return parts;
}

// tokenizers 0.23.3: t = Tokenizer(models.WordLevel({"u": 0}, unk_token="u"));
//     t.add_tokens([AddedToken(TEXT, normalized=False, FLAGS), ...]);
//     e = t.encode(TEXT): e.ids (0 is -1 here) and the text at e.offsets
const GoldenAddedTokens kKept[] = {
    {{{"<a>", false, false, false}, {"<ab>", false, false, false}, {"<a><b>", false, false, false}},
     {{"x<a>y<ab>z", {{"x", -1}, {"<a>", 1}, {"y", -1}, {"<ab>", 2}, {"z", -1}}},
      {"<a><b>", {{"<a><b>", 3}}},
      {"<a><ab>", {{"<a>", 1}, {"<ab>", 2}}},
      {"<<a>", {{"<", -1}, {"<a>", 1}}},
      {"", {}},
      {"<a", {{"<a", -1}}},
      {"no", {{"no", -1}}}}},
    {{{"ab", false, false, false}, {"abcd", false, false, false}, {"bc", false, false, false}},
     {{"abc", {{"ab", 1}, {"c", -1}}},
      {"abcd", {{"abcd", 2}}},
      {"xabcabcd", {{"x", -1}, {"ab", 1}, {"c", -1}, {"abcd", 2}}},
      {"abbc", {{"ab", 1}, {"bc", 3}}}}},
    {{{"tok", true, false, false}},
     {{"tok", {{"tok", 1}}},
      {"a tok b", {{"a ", -1}, {"tok", 1}, {" b", -1}}},
      {"atok", {{"atok", -1}}},
      {"toka", {{"toka", -1}}},
      {"tok.", {{"tok", 1}, {".", -1}}},
      {"_tok", {{"_tok", -1}}},
      {"ätok tok", {{"ätok ", -1}, {"tok", 1}}},
      {"tok2 -tok-", {{"tok2 -", -1}, {"tok", 1}, {"-", -1}}},
      {"toktok", {{"toktok", -1}}},
      {"tok tok", {{"tok", 1}, {" ", -1}, {"tok", 1}}}}},
    {{{"<l>", false, true, false}},
     {{"a  <l> b", {{"a", -1}, {"  <l>", 1}, {" b", -1}}},
      {"  <l>", {{"  <l>", 1}}},
      {"a<l>b", {{"a", -1}, {"<l>", 1}, {"b", -1}}},
      {" \t\302\240<l><l> <l>", {{" \t\302\240<l>", 1}, {"<l>", 1}, {" <l>", 1}}}}},
    {{{"<r>", false, false, true}},
     {{"a <r>  b", {{"a ", -1}, {"<r>  ", 1}, {"b", -1}}},
      {"<r>  ", {{"<r>  ", 1}}},
      {"<r> <r>\n x", {{"<r> ", 1}, {"<r>\n ", 1}, {"x", -1}}}}},
    {{{"<b>", false, true, true}, {"<l>", false, true, false}, {" ", false, false, false}},
     {{"a <b> <b> c",
       {{"a", -1}, {" ", 3}, {"<b> ", 1}, {" ", 3}, {"<b> ", 1}, {" ", 3}, {"c", -1}}},
      {"<b>   <l> x",
       {{"<b>   ", 1}, {" ", 3}, {" ", 3}, {" ", 3}, {"<l>", 2}, {" ", 3}, {"x", -1}}},
      {"a  b", {{"a", -1}, {" ", 3}, {" ", 3}, {"b", -1}}}}},
    {{{"  ", false, false, true}, {"   ", false, true, false}},
     {{"a     b", {{"a", -1}, {"   ", 2}, {"  ", 1}, {"b", -1}}},
      {"      ", {{"   ", 2}, {"   ", 2}}},
      {"a   b", {{"a", -1}, {"   ", 2}, {"b", -1}}}}},
};

TEST(AddedTokenMatcher, SplitsAsTheLibraryDoes) {
  for (const GoldenAddedTokens& golden : kKept) {
    const AddedTokenMatcher matcher = Matcher(golden.tokens);
    for (const auto& [text, parts] : golden.cases)
      EXPECT_EQ(PartsOf(matcher, text), parts) << JsonQuote(text);
  }
}

TEST(AddedTokenMatcher, SpecialTokensCanCountAsText) {
  AddedTokenMatcher matcher;
  matcher.Add({.id = 1, .content = "<s>", .special = true}, "<s>");
  matcher.Add({.id = 2, .content = "<t>"}, "<t>");
  EXPECT_EQ(PartsOf(matcher, "a<s><t>b"), (Parts{{"a", -1}, {"<s>", 1}, {"<t>", 2}, {"b", -1}}));
  EXPECT_EQ(PartsOf(matcher, "a<s><t>b", true), (Parts{{"a<s>", -1}, {"<t>", 2}, {"b", -1}}));
}

TEST(AddedTokenMatcher, IsFoundByItsPatternTheFirstOfEqualOnes) {
  AddedTokenMatcher matcher;
  EXPECT_TRUE(matcher.empty());
  matcher.Add({.id = 7, .content = "ABC"}, "abc");
  matcher.Add({.id = 8, .content = "Abc"}, "abc");
  EXPECT_EQ(PartsOf(matcher, "ABCabc"), (Parts{{"ABC", -1}, {"abc", 7}}));
}

TEST(AddedTokenMatcher, AnErrorEndsTheSplit) {
  AddedTokenMatcher matcher;
  matcher.Add({.id = 1, .content = "x"}, "x");
  int calls = 0;
  const absl::Status status = matcher.Split("axb", false, [&](std::string_view, int32_t id) {
    ++calls;
    return id == 1 ? Error(ErrorCode::kCancelled, "enough") : absl::OkStatus();
  });
  EXPECT_EQ(CodeOf(status), ErrorCode::kCancelled);
  EXPECT_EQ(calls, 2);
}

}  // namespace
}  // namespace smelt::testing
