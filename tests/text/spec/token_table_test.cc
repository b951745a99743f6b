// The table of tokens against maps.
#include "lib/text/spec/token_table.h"

#include <map>
#include <random>

#include "tests/testing/testing.h"

namespace smelt::testing {
namespace {

TEST(TokenTable, AnEmptyOneHasNothing) {
  const TokenTable table;
  EXPECT_EQ(table.Find("a"), -1);
  EXPECT_EQ(table.count(), 0u);
  EXPECT_EQ(table.size(), 0u);
  EXPECT_EQ(table.longest(), 0u);
  EXPECT_FALSE(table.Has(0));
  EXPECT_FALSE(table.Has(-1));
  EXPECT_EQ(table.Text(0), "");
  const std::vector<std::string_view> texts = {"a", ""};
  std::vector<int32_t> ids = {7, 7};
  table.FindAll(texts, ids);
  EXPECT_EQ(ids, (std::vector<int32_t>{-1, -1}));
}

TEST(TokenTable, NeitherTextsNorIdsAreTakenTwice) {
  TokenTable table;
  EXPECT_EQ(table.Add(5, "five"), TokenTable::Added::kOk);
  EXPECT_EQ(table.Add(6, "five"), TokenTable::Added::kTextTaken);
  EXPECT_EQ(table.Add(5, "other"), TokenTable::Added::kIdTaken);
  EXPECT_EQ(table.Add(0, ""), TokenTable::Added::kOk);  // an empty text is a text
  EXPECT_EQ(table.Find("five"), 5);
  EXPECT_EQ(table.Find("other"), -1);
  EXPECT_EQ(table.Find(""), 0);
  EXPECT_TRUE(table.Has(0));
  EXPECT_FALSE(table.Has(3));
  EXPECT_EQ(table.Text(5), "five");
  EXPECT_EQ(table.Text(3), "");
  EXPECT_EQ(table.count(), 2u);
  EXPECT_EQ(table.size(), 6u);
  EXPECT_EQ(table.longest(), 4u);
}

TEST(TokenTable, FindsWhatMapsFind) {
  std::mt19937 random(6);
  TokenTable table;
  table.Reserve(100, 400);
  std::map<std::string, int32_t> ids;
  std::map<int32_t, std::string> texts;
  const auto draw = [&] {
    std::string text(random() % 6, ' ');
    for (char& c : text) c = static_cast<char>('a' + random() % 4);
    return text;
  };
  for (int i = 0; i < 4000; ++i) {
    const std::string text = draw();
    const auto id = static_cast<int32_t>(random() % 3000);
    const TokenTable::Added expected = texts.contains(id)   ? TokenTable::Added::kIdTaken
                                       : ids.contains(text) ? TokenTable::Added::kTextTaken
                                                            : TokenTable::Added::kOk;
    EXPECT_EQ(table.Add(id, text), expected);
    if (expected != TokenTable::Added::kOk) continue;
    ids[text] = id;
    texts[id] = text;
  }
  EXPECT_EQ(table.count(), ids.size());
  std::vector<std::string> asked;
  for (int i = 0; i < 333; ++i) asked.push_back(draw());  // more than are looked up at once
  const std::vector<std::string_view> views(asked.begin(), asked.end());
  std::vector<int32_t> found(views.size());
  table.FindAll(views, found);
  for (size_t i = 0; i < asked.size(); ++i) {
    const auto it = ids.find(asked[i]);
    const int32_t expected = it == ids.end() ? -1 : it->second;
    EXPECT_EQ(table.Find(asked[i]), expected);
    EXPECT_EQ(found[i], expected);
  }
  for (int32_t id = 0; id < 3000; ++id) {
    EXPECT_EQ(table.Has(id), texts.contains(id));
    EXPECT_EQ(table.Text(id), texts.contains(id) ? texts[id] : "");
  }
}

}  // namespace
}  // namespace smelt::testing
