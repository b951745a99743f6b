// Whether scores say what a list of merges says: where the answer is yes, both give the same for
// every text that is tried.
#include "lib/text/gguf/merge_order.h"

#include <random>

#include "lib/text/models/merge_by_text.h"
#include "tests/testing/testing.h"

namespace smelt::testing {
namespace {

std::vector<int32_t> IdsLeft(const SymbolList& symbols) {
  std::vector<int32_t> out;
  for (uint32_t i = 0; i < symbols.size(); i = symbols.Next(i)) out.push_back(symbols.id(i));
  return out;
}

/// A vocabulary of texts with scores, and merges in their order.
struct Vocabulary {
  TokenTable tokens;
  std::vector<float> scores;
  MergeList merges;
  MergeTable table;

  void Token(std::string_view text, float score) {
    tokens.Add(static_cast<int32_t>(scores.size()), text);
    scores.push_back(score);
  }
  void Merge(const std::string& left, const std::string& right) {
    table.Set(tokens.Find(left), tokens.Find(right),
              {static_cast<uint32_t>(merges.size()), tokens.Find(left + right)});
    merges.Add(left, right);
  }
  bool FollowsScores(const std::function<bool(int32_t)>& joinable = [](int32_t) {
    return true;
  }) const {
    return MergesFollowScores(tokens, merges, table, scores, joinable);
  }

  /// As the list says.
  std::vector<int32_t> ByList(std::string_view text) const {
    SymbolList symbols;
    for (const char c : text) symbols.Add(tokens.Find(std::string_view(&c, 1)));
    MergeSymbols(symbols, [&](uint32_t left, uint32_t right) {
      return table.Find(symbols.id(left), symbols.id(right));
    });
    return IdsLeft(symbols);
  }
  /// As scores say.
  std::vector<int32_t> ByScore(std::string_view text) const {
    TextSymbols symbols(text);
    for (const char c : text) symbols.Add(tokens.Find(std::string_view(&c, 1)), 1);
    MergeByText(
        text, tokens, RankScores(scores), [](int32_t, uint32_t, uint32_t) { return true; },
        symbols);
    return IdsLeft(symbols.list());
  }
  /// The first text of at most `longest` letters for which both differ; empty when there is none.
  std::string Witness(std::string_view letters, size_t longest) const {
    std::vector<std::string> texts = {""};
    for (size_t i = 0; i < texts.size(); ++i) {
      if (!texts[i].empty() && ByList(texts[i]) != ByScore(texts[i])) return texts[i];
      if (texts[i].size() == longest) continue;
      for (const char c : letters) texts.push_back(texts[i] + c);
    }
    return "";
  }
};

Vocabulary Letters(std::string_view letters) {
  Vocabulary v;
  for (const char c : letters) v.Token(std::string(1, c), -100);
  return v;
}

struct MergeCase {
  std::string_view letters;
  std::vector<std::pair<std::string_view, float>> tokens;
  std::vector<std::pair<std::string, std::string>> merges;
  bool follows;
  std::string_view witness;  ///< the first text that comes out differently
};
const MergeCase kCases[] = {
    {"abc", {{"ab", -1}, {"abc", -2}}, {{"a", "b"}, {"ab", "c"}}, true, ""},
    // The list has another order.
    {"abc", {{"ab", -2}, {"bc", -1}}, {{"a", "b"}, {"b", "c"}}, false, "abc"},
    // A pair that makes a token is not listed.
    {"abc", {{"ab", -1}, {"bc", -2}, {"ca", -3}}, {{"a", "b"}, {"b", "c"}}, false, "ca"},
    // Runs of one letter: equal scores merge from the left, equal texts in either of two ways.
    {"a", {{"aa", -1}, {"aaaa", -2}}, {{"a", "a"}, {"aa", "aa"}}, true, ""},
    {"a", {{"aa", -2}, {"aaa", -1}}, {{"a", "a"}, {"aa", "a"}, {"a", "aa"}}, false, "aaaa"}};

TEST(MergesFollowScores, WhereTheListIsSortedAndComplete) {
  for (const MergeCase& c : kCases) {
    Vocabulary v = Letters(c.letters);
    for (const auto& [text, score] : c.tokens) v.Token(text, score);
    for (const auto& [left, right] : c.merges) v.Merge(left, right);
    SCOPED_TRACE(::testing::PrintToString(c.merges));
    EXPECT_EQ(v.FollowsScores(), c.follows);
    EXPECT_EQ(v.Witness(c.letters, c.letters.size() == 1 ? 12 : 7), c.witness);
  }
}

TEST(MergesFollowScores, NotWhenAResultCannotBeJoined) {
  Vocabulary v = Letters("ab");
  v.Token("ab", -1);
  v.Merge("a", "b");
  EXPECT_TRUE(v.FollowsScores());
  const int32_t ab = v.tokens.Find("ab");
  EXPECT_FALSE(v.FollowsScores([&](int32_t id) { return id != ab; }));
}

TEST(MergesFollowScores, YesIsNeverWrong) {
  std::mt19937 random(13);
  int yes = 0, no = 0;
  for (int round = 0; round < 1000; ++round) {
    Vocabulary v = Letters("ab");
    std::vector<std::string> texts = {"a", "b"};
    float score = -1;
    for (size_t i = 1 + random() % 5; i > 0; --i) {
      const std::string left = texts[random() % texts.size()],
                        right = texts[random() % texts.size()];
      if (v.tokens.Find(left + right) < 0) {
        if (random() % 4 != 0) score -= 1;  // now and then two tokens with one score
        v.Token(left + right, random() % 10 == 0 ? score + 1.5f : score);
        texts.push_back(left + right);
      }
      v.Merge(left, right);
    }
    const bool follows = v.FollowsScores();
    (follows ? yes : no) += 1;
    if (follows) {
      const std::string witness = v.Witness("ab", 8);
      EXPECT_EQ(witness, "") << "round " << round;
    }
  }
  EXPECT_GT(yes, 100);
  EXPECT_GT(no, 100);
}

}  // namespace
}  // namespace smelt::testing
