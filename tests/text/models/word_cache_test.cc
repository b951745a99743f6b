// The cache of words: what it keeps, what it does not, and that forgetting is no error.
#include "lib/text/models/word_cache.h"

#include <numeric>

#include "lib/base/cat.h"
#include "tests/testing/testing.h"

namespace smelt::testing {
namespace {

using Ids = std::vector<int32_t>;

/// The ids of a word, appended to {-5}; nothing when it is not known.
Ids IdsOf(const WordCache& cache, std::string_view word) {
  Ids ids = {-5};
  return cache.Append(word, HashText(word), ids) ? ids : Ids();
}

TEST(WordCache, AppendsWhatWasKept) {
  WordCache cache;
  EXPECT_EQ(IdsOf(cache, "word"), Ids());
  cache.Insert("word", HashText("word"), Ids{1, 2});
  cache.Insert("other", HashText("other"), Ids{});
  cache.Insert(std::string_view("a\0b", 3), HashText(std::string_view("a\0b", 3)), Ids{7});
  EXPECT_EQ(IdsOf(cache, "word"), (Ids{-5, 1, 2}));
  EXPECT_EQ(IdsOf(cache, "other"), (Ids{-5}));
  EXPECT_EQ(IdsOf(cache, std::string_view("a\0b", 3)), (Ids{-5, 7}));
  EXPECT_EQ(IdsOf(cache, "wor"), Ids());
  EXPECT_EQ(IdsOf(cache, "words"), Ids());
  EXPECT_EQ(IdsOf(cache, ""), Ids());
}

TEST(WordCache, DoesNotKeepLongWordsNorManyIds) {
  WordCache cache;
  const std::string longest(WordCache::kMaxWord, 'x'), longer = longest + "x";
  cache.Insert(longest, HashText(longest), Ids{1});
  cache.Insert(longer, HashText(longer), Ids{2});
  EXPECT_EQ(IdsOf(cache, longest), (Ids{-5, 1}));
  EXPECT_EQ(IdsOf(cache, longer), Ids());
  Ids many(255);
  std::iota(many.begin(), many.end(), 0);
  cache.Insert("many", HashText("many"), many);
  EXPECT_EQ(IdsOf(cache, "many").size(), 256u);
  many.push_back(255);
  cache.Insert("more", HashText("more"), many);
  EXPECT_EQ(IdsOf(cache, "more"), Ids());
}

// More words than it holds: each is either not known or right, and the last one is known.
TEST(WordCache, ForgetsWhenItIsFull) {
  WordCache cache;
  const auto word = [](int i) { return Cat("w", i); };
  constexpr int kWords = 100000;
  for (int i = 0; i < kWords; ++i) {
    cache.Insert(word(i), HashText(word(i)), Ids{i, i + 1});
    ASSERT_EQ(IdsOf(cache, word(i)), (Ids{-5, i, i + 1}));
  }
  int known = 0;
  for (int i = 0; i < kWords; ++i) {
    const Ids ids = IdsOf(cache, word(i));
    if (ids.empty()) continue;
    ++known;
    ASSERT_EQ(ids, (Ids{-5, i, i + 1}));
  }
  EXPECT_GT(known, 1000);
  EXPECT_LT(known, kWords);
}

TEST(CachePool, LendsACacheToOneAtATimeAndKeepsIt) {
  CachePool pool;
  {
    const CachePool::Lease first(pool), second(pool);
    EXPECT_NE(&*first, &*second);
    (*first).Insert("a", HashText("a"), Ids{1});
    (*second).Insert("a", HashText("a"), Ids{1});
  }
  const CachePool::Lease again(pool);
  EXPECT_EQ(IdsOf(*again, "a"), (Ids{-5, 1}));
}

}  // namespace
}  // namespace smelt::testing
