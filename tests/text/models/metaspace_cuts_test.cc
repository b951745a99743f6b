// Cuts before U+2581 change no ids: the parts, merged one by one, are the whole, merged at once.
#include "lib/text/models/metaspace_cuts.h"

#include <random>

#include "lib/base/status.h"
#include "lib/text/models/merge_by_text.h"
#include "tests/testing/testing.h"

namespace smelt::testing {
namespace {

using Texts = std::vector<std::string>;

/// `_` for U+2581.
std::string Blanks(std::string_view text) {
  std::string out;
  for (const char c : text) out += c == '_' ? std::string(kMetaspace) : std::string(1, c);
  return out;
}

Texts AllBlanks(Texts texts) {
  for (std::string& text : texts) text = Blanks(text);
  return texts;
}

TokenTable TokensOf(const Texts& texts) {
  TokenTable table;
  for (size_t i = 0; i < texts.size(); ++i) table.Add(static_cast<int32_t>(i), texts[i]);
  return table;
}

Texts PartsOf(const TokenTable& table, std::string_view text) {
  Texts parts;
  SMELT_EXPECT_OK(MetaspaceCuts(table).Split(table, text, [&](std::string_view part) {
    parts.emplace_back(part);
    return absl::OkStatus();
  }));
  return parts;
}

TEST(MetaspaceCuts, CutsAfterCharactersThatNoTokenHasBeforeABlank) {
  const TokenTable table = TokensOf(AllBlanks({"_", "a", "b", "c", "_a", "b_c"}));
  EXPECT_EQ(PartsOf(table, Blanks("_a_a_b_c")), AllBlanks({"_a", "_a", "_b_c"}));
  EXPECT_EQ(PartsOf(table, Blanks("a__a")), AllBlanks({"a", "__a"}));  // not between two blanks
  EXPECT_EQ(PartsOf(table, Blanks("ax_a")), AllBlanks({"ax_a"}));      // x is no token
  EXPECT_EQ(PartsOf(table, Blanks("_")), AllBlanks({"_"}));
  EXPECT_EQ(PartsOf(table, ""), Texts());
}

TEST(MetaspaceCuts, WithoutATokenForTheBlankThereIsNone) {
  EXPECT_EQ(PartsOf(TokensOf({"a", "b"}), Blanks("a_b")), AllBlanks({"a_b"}));
}

TEST(MetaspaceCuts, AnErrorEndsTheSplit) {
  const TokenTable table = TokensOf(AllBlanks({"_", "a"}));
  int calls = 0;
  const absl::Status status =
      MetaspaceCuts(table).Split(table, Blanks("a_a_a"), [&](std::string_view) {
        return ++calls == 2 ? Error(ErrorCode::kCancelled, "enough") : absl::OkStatus();
      });
  EXPECT_EQ(CodeOf(status), ErrorCode::kCancelled);
  EXPECT_EQ(calls, 2);
}

Texts Merged(const TokenTable& table, const std::vector<uint32_t>& ranks, std::string_view text) {
  TextSymbols symbols(text);
  for (size_t at = 0; at < text.size();) {
    const size_t length = text.substr(at).starts_with(kMetaspace) ? kMetaspace.size() : 1;
    symbols.Add(SymbolList::kNoId, length);
    at += length;
  }
  MergeByText(
      text, table, ranks, [](int32_t, uint32_t, uint32_t) { return true; }, symbols);
  Texts out;
  for (uint32_t i = 0; i < symbols.list().size(); i = symbols.list().Next(i))
    out.emplace_back(symbols.Text(i));
  return out;
}

TEST(MetaspaceCuts, ChangeNoIds) {
  std::mt19937 random(12);
  const auto draw = [&](size_t longest) {
    std::string text;
    for (size_t n = 1 + random() % longest; n > 0; --n) text += "abcx__"[random() % 6];
    return Blanks(text);
  };
  size_t cuts = 0;
  for (int round = 0; round < 300; ++round) {
    Texts texts = AllBlanks({"_", "a", "b", "c"});
    std::vector<float> scores(texts.size(), 0.0f);
    for (int i = 0; i < 12; ++i) {
      texts.push_back(draw(4));
      scores.push_back(-static_cast<float>(random() % 8));
    }
    const TokenTable table = TokensOf(texts);
    const std::vector<uint32_t> ranks = RankScores(scores);
    for (int i = 0; i < 20; ++i) {
      const std::string text = draw(20);
      const Texts parts = PartsOf(table, text);
      cuts += parts.size() - 1;
      Texts merged;
      for (const std::string& part : parts) {
        for (std::string& token : Merged(table, ranks, part)) merged.push_back(std::move(token));
      }
      EXPECT_EQ(merged, Merged(table, ranks, text)) << text;
    }
  }
  EXPECT_GT(cuts, 1000u);
}

TEST(RankScores, TheBestIsZeroAndEqualScoresAreEqual) {
  EXPECT_EQ(RankScores({-1, 3, -1, 0.5f}), (std::vector<uint32_t>{2, 0, 2, 1}));
  EXPECT_EQ(RankScores({}), std::vector<uint32_t>());
}

}  // namespace
}  // namespace smelt::testing
