#include "lib/base/text_hash.h"

#include <algorithm>
#include <set>
#include <vector>

#include "tests/testing/testing.h"

namespace smelt::testing {
namespace {

// CPython 3.11 hashes bytes with SipHash-1-3; PYTHONHASHSEED=0 makes the key zero.
TEST(TextHash, IsSipHash13) {
  const auto hash = [](std::string_view text) { return SipHash13(0, 0, text); };
  EXPECT_EQ(hash("a"), 0x407448d2b89b1813u);
  EXPECT_EQ(hash("ab"), 0x555508cbc6add439u);
  EXPECT_EQ(hash("abcdefg"), 0x6db12aae9070f506u);
  EXPECT_EQ(hash("abcdefgh"), 0x3f7b849c0b8e35eau);
  EXPECT_EQ(hash("abcdefghi"), 0xf89b34a3d11eb6e5u);
  EXPECT_EQ(hash(std::string_view("\0\1\2\3\4\5\6\7\10\11\12\13\14\15\16\17", 16)),
            0x8972188433a5c5b7u);
  EXPECT_EQ(hash(std::string(100, 'x')), 0x12de6d6e12e5750cu);
}

TEST(TextHash, DependsOnTheKey) {
  EXPECT_NE(SipHash13(0, 0, "a"), SipHash13(1, 0, "a"));
  EXPECT_NE(SipHash13(0, 0, "a"), SipHash13(0, 1, "a"));
  EXPECT_NE(ProcessHashKeys().text[0], 0u);
}

// Pairs that a product of one key, or a sum, would put into few places.
TEST(TextHash, SpreadsRegularPairs) {
  constexpr uint32_t kCount = 1 << 12;
  for (const uint32_t step : {1u, 1u << 12, 1u << 20}) {
    std::set<uint32_t> places;
    for (uint32_t i = 0; i < kCount; ++i) places.insert(HashPair(i * step, 7 * i * step) % kCount);
    EXPECT_GT(places.size(), kCount / 3) << step;
  }
}

}  // namespace
}  // namespace smelt::testing
