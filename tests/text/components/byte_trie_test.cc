// The trie against a plain search.
#include "lib/text/components/byte_trie.h"

#include <map>
#include <random>
#include <string>

#include "tests/testing/testing.h"

namespace smelt::testing {
namespace {

using Found = std::vector<std::pair<size_t, int32_t>>;  // length, value

Found PrefixesOf(const ByteTrie& trie, std::string_view text) {
  Found found;
  trie.Prefixes(text, [&](size_t length, int32_t value) { found.emplace_back(length, value); });
  return found;
}

TEST(ByteTrie, NothingIsFoundInAnEmptyOne) {
  ByteTrie trie;
  EXPECT_TRUE(trie.empty());
  EXPECT_EQ(PrefixesOf(trie, "abc"), Found());
  EXPECT_FALSE(trie.MayBegin('a'));
  EXPECT_FALSE(trie.Insert("", 1));
  EXPECT_TRUE(trie.empty());
}

TEST(ByteTrie, TheFirstOfEqualTextsStays) {
  ByteTrie trie;
  EXPECT_TRUE(trie.Insert("ab", 3));
  EXPECT_FALSE(trie.Insert("ab", 4));
  EXPECT_TRUE(trie.Insert("a", 0));
  EXPECT_TRUE(trie.Insert(std::string_view("\0\xff", 2), 5));
  EXPECT_FALSE(trie.empty());
  EXPECT_EQ(PrefixesOf(trie, "abc"), (Found{{1, 0}, {2, 3}}));
  EXPECT_EQ(PrefixesOf(trie, "a"), (Found{{1, 0}}));
  EXPECT_EQ(PrefixesOf(trie, ""), Found());
  EXPECT_EQ(PrefixesOf(trie, std::string_view("\0\xff", 2)), (Found{{2, 5}}));
  EXPECT_TRUE(trie.MayBegin('a'));
  EXPECT_FALSE(trie.MayBegin('b'));
}

TEST(ByteTrie, FindsWhatAPlainSearchFinds) {
  std::mt19937 random(5);
  const auto draw = [&](size_t longest) {
    std::string text(1 + random() % longest, ' ');
    for (char& c : text) c = "abc\xff"[random() % 4];
    return text;
  };
  ByteTrie trie;
  std::map<std::string, int32_t> texts;
  for (int32_t value = 0; value < 3000; ++value) {
    const std::string text = draw(9);
    EXPECT_EQ(trie.Insert(text, value), texts.emplace(text, value).second);
  }
  for (int round = 0; round < 2000; ++round) {
    const std::string text = draw(14);
    Found expected;
    for (size_t length = 1; length <= text.size(); ++length) {
      if (const auto it = texts.find(text.substr(0, length)); it != texts.end())
        expected.emplace_back(length, it->second);
    }
    EXPECT_EQ(PrefixesOf(trie, text), expected);
  }
}

}  // namespace
}  // namespace smelt::testing
