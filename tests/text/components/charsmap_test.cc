// The double-array trie of SentencePiece's rules: what it finds, and what is refused.
#include "lib/text/components/charsmap.h"

#include <cstring>

#include "lib/text/spec/base64.h"
#include "tests/testing/testing.h"
#include "tests/text/components/small_charsmap.h"

namespace smelt::testing {
namespace {

std::string SmallBlob() {
  const auto blob = DecodeBase64(kSmallCharsmap);
  EXPECT_TRUE(blob.ok()) << blob.status();
  return blob.value_or("");
}

uint32_t UnitAt(const std::string& blob, size_t i) {
  uint32_t unit = 0;
  std::memcpy(&unit, blob.data() + 4 * i, 4);
  return unit;
}

void SetUnit(std::string& blob, size_t i, uint32_t unit) {
  std::memcpy(blob.data() + 4 * i, &unit, 4);
}

TEST(Charsmap, FindsTheShortestAndTheLongestRule) {
  const auto map = Charsmap::Parse(SmallBlob());
  SMELT_ASSERT_OK(map);
  EXPECT_FALSE(map->empty());
  const struct {
    std::string_view text;
    size_t longest;
    std::string_view by_longest;
    size_t shortest;
    std::string_view by_shortest;
  } kCases[] = {{"abcd", 3, "y z", 2, "x"},    {"abd", 2, "x", 2, "x"},
                {"ab", 2, "x", 2, "x"},        {"a", 0, "", 0, ""},
                {"b", 0, "", 0, ""},           {"", 0, "", 0, ""},
                {"\303\251x", 2, "e", 2, "e"}, {"e\314\201\314\201", 3, "E", 3, "E"},
                {"e", 0, "", 0, ""},           {"\303\237", 2, "", 2, ""},
                {"q", 1, "  ", 1, "  "},       {"\357\254\201", 3, "fi", 3, "fi"},
                {"\357\254", 0, "", 0, ""}};
  for (const auto& c : kCases) {
    const Charsmap::Rule longest = map->Longest(c.text), shortest = map->Shortest(c.text);
    EXPECT_EQ(longest.length, c.longest) << c.text;
    EXPECT_EQ(longest.replacement, c.by_longest) << c.text;
    EXPECT_EQ(shortest.length, c.shortest) << c.text;
    EXPECT_EQ(shortest.replacement, c.by_shortest) << c.text;
  }
}

TEST(Charsmap, NoBlobHasNoRules) {
  const auto map = Charsmap::Parse("");
  SMELT_ASSERT_OK(map);
  EXPECT_TRUE(map->empty());
  EXPECT_EQ(map->Longest("abc").length, 0u);
}

TEST(Charsmap, WhatContradictsItselfIsRefused) {
  const std::string good = SmallBlob();
  const auto refused = [](const std::string& blob) { return !Charsmap::Parse(blob).ok(); };
  EXPECT_FALSE(refused(good));
  EXPECT_TRUE(refused(good.substr(0, 3)));
  EXPECT_TRUE(refused(good.substr(0, 4)));
  std::string bad = good;
  SetUnit(bad, 0, static_cast<uint32_t>(good.size() - 3));  // a trie longer than the blob
  EXPECT_TRUE(refused(bad));
  SetUnit(bad, 0, UnitAt(good, 0) - 1);  // half a unit
  EXPECT_TRUE(refused(bad));
  SetUnit(bad, 0, 0);
  EXPECT_TRUE(refused(bad));
  EXPECT_TRUE(refused(good.substr(0, 4 + UnitAt(good, 0))));  // no replacements
  bad = good;
  bad.back() = '\0';
  bad[4 + UnitAt(good, 0)] = '\377';  // replacements that are no UTF-8
  EXPECT_TRUE(refused(bad));
  bad = good;
  SetUnit(bad, 1, 0x7fffffffu & ~0xffu);  // the root's children lie outside
  EXPECT_TRUE(refused(bad));
}

// Any unit changed in any bit: refused, or every lookup stays inside.
TEST(Charsmap, DamagedTriesNeverLeadOutside) {
  const std::string good = SmallBlob();
  const size_t units = UnitAt(good, 0) / 4;
  int accepted = 0;
  for (size_t unit = 1; unit <= units; ++unit) {
    for (int bit = 0; bit < 32; ++bit) {
      std::string bad = good;
      SetUnit(bad, unit, UnitAt(good, unit) ^ (uint32_t{1} << bit));
      const auto map = Charsmap::Parse(bad);
      if (!map.ok()) continue;
      ++accepted;
      for (const std::string_view text : {"abcd", "e\314\201", "q", "\357\254\201", "\377"}) {
        EXPECT_LE(map->Longest(text).length, text.size());
        EXPECT_LE(map->Shortest(text).length, map->Longest(text).length);
      }
    }
  }
  EXPECT_GT(accepted, 0);
}

}  // namespace
}  // namespace smelt::testing
