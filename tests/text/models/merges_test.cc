// Byte-pair merging against its definition: again and again the pair with the lowest rank, of equal
// ones the leftmost.
#include "lib/text/models/merges.h"

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "tests/testing/testing.h"

namespace smelt::testing {
namespace {

using Pairs = std::map<std::pair<int32_t, int32_t>, Merge>;

/// The definition, one merge at a time.
std::vector<int32_t> MergedPlainly(const Pairs& pairs, std::vector<int32_t> ids) {
  while (true) {
    const Merge* best = nullptr;
    size_t at = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto pair = pairs.find({ids[i], ids[i + 1]});
      if (pair == pairs.end() || (best != nullptr && pair->second.rank >= best->rank)) continue;
      best = &pair->second;
      at = i;
    }
    if (best == nullptr) return ids;
    ids[at] = best->id;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
}

/// Random merges of ids below `singles` and of what merges make. With fewer ranks than merges, some
/// are equal.
Pairs DrawPairs(std::mt19937& random, int32_t singles, int32_t merges, uint32_t ranks) {
  Pairs pairs;
  for (int32_t i = 0; i < merges; ++i) {
    const auto id = [&] {
      return static_cast<int32_t>(random() % static_cast<uint32_t>(singles + i));
    };
    const int32_t left = id(), right = id();
    pairs.try_emplace({left, right}, Merge{static_cast<uint32_t>(i) % ranks, singles + i});
  }
  return pairs;
}

MergeTable TableOf(const Pairs& pairs) {
  MergeTable table;
  for (const auto& [pair, merge] : pairs) table.Set(pair.first, pair.second, merge);
  return table;
}

std::vector<int32_t> DrawWord(std::mt19937& random, int32_t singles, size_t length) {
  std::vector<int32_t> ids(length);
  for (int32_t& id : ids) id = static_cast<int32_t>(random() % static_cast<uint32_t>(singles));
  return ids;
}

SymbolList SymbolsOf(const std::vector<int32_t>& ids) {
  SymbolList symbols;
  symbols.Reserve(ids.size());
  for (const int32_t id : ids) symbols.Add(id);
  return symbols;
}

std::vector<int32_t> IdsOf(const SymbolList& symbols) {
  std::vector<int32_t> ids;
  for (uint32_t i = 0; i < symbols.size(); i = symbols.Next(i)) ids.push_back(symbols.id(i));
  return ids;
}

template <typename Queue>
std::vector<int32_t> MergedWith(const MergeTable& table, const std::vector<int32_t>& ids) {
  SymbolList symbols = SymbolsOf(ids);
  Queue queue;
  MergeWith(queue, symbols, [&](uint32_t left, uint32_t right) {
    return table.Find(symbols.id(left), symbols.id(right));
  });
  return IdsOf(symbols);
}

TEST(Merges, EveryWayMergesAsDefined) {
  std::mt19937 random(7);
  size_t merged = 0;
  for (int round = 0; round < 400; ++round) {
    const int32_t singles = 2 + round % 4;
    const Pairs pairs = DrawPairs(random, singles, 1 + round % 60, round % 3 == 0 ? 7 : 1000);
    const MergeTable table = TableOf(pairs);
    for (size_t length : {size_t{1}, size_t{2}, size_t{7}, MergeTable::kShort, size_t{90}}) {
      const std::vector<int32_t> word = DrawWord(random, singles, length);
      const std::vector<int32_t> expected = MergedPlainly(pairs, word);
      merged += word.size() - expected.size();
      EXPECT_EQ(MergedWith<PairHeap>(table, word), expected);
      EXPECT_EQ(MergedWith<PairLists>(table, word), expected);
      if (length > MergeTable::kShort) continue;
      std::vector<int32_t> ids = word;
      ids.resize(table.MergeShort(ids.data(), ids.size()));
      EXPECT_EQ(ids, expected);
    }
  }
  EXPECT_GT(merged, 10000u);
}

TEST(Merges, LongTextsToo) {
  std::mt19937 random(8);
  const Pairs pairs = DrawPairs(random, 3, 40, 1000);
  const MergeTable table = TableOf(pairs);
  const std::vector<int32_t> word = DrawWord(random, 3, 5000);
  SymbolList symbols = SymbolsOf(word);
  MergeSymbols(symbols, [&](uint32_t left, uint32_t right) {
    return table.Find(symbols.id(left), symbols.id(right));
  });
  EXPECT_EQ(IdsOf(symbols), MergedPlainly(pairs, word));
}

TEST(MergeTable, KeepsTheLaterOfEqualPairs) {
  MergeTable table;
  EXPECT_EQ(table.Find(1, 2), nullptr);
  table.Reserve(10);
  table.Set(1, 2, {5, 9});
  table.Set(2, 1, {6, 10});
  table.Set(1, 2, {7, 11});
  EXPECT_EQ(table.count(), 2u);
  EXPECT_EQ(table.Find(1, 2)->rank, 7u);
  EXPECT_EQ(table.Find(1, 2)->id, 11);
  EXPECT_EQ(table.Find(2, 1)->id, 10);
  EXPECT_EQ(table.Find(2, 2), nullptr);
}

TEST(MergeTable, HoldsManyPairs) {
  std::mt19937 random(9);
  std::map<std::pair<int32_t, int32_t>, uint32_t> expected;
  MergeTable table;
  for (uint32_t i = 0; i < 20000; ++i) {
    const auto left = static_cast<int32_t>(random() % 200);
    const auto right = static_cast<int32_t>(random() % 200);
    table.Set(left, right, {i, 0});
    expected[{left, right}] = i;
  }
  EXPECT_EQ(table.count(), expected.size());
  for (int32_t left = 0; left < 210; ++left) {
    for (int32_t right = 0; right < 210; ++right) {
      const auto pair = expected.find({left, right});
      const Merge* merge = table.Find(left, right);
      ASSERT_EQ(merge != nullptr, pair != expected.end()) << left << " " << right;
      if (merge == nullptr) continue;
      ASSERT_EQ(merge->rank, pair->second);
    }
  }
}

template <typename Queue>
void ExpectOrder() {
  std::mt19937 random(10);
  std::multiset<std::pair<uint32_t, uint32_t>> expected;
  Queue queue;
  EXPECT_TRUE(queue.empty());
  for (int i = 0; i < 20000; ++i) {
    if (expected.empty() || random() % 5 < 3) {
      const MergeCandidate pair{static_cast<uint32_t>(random() % 20),
                                static_cast<uint32_t>(random() % 1000)};
      queue.Push(pair);
      expected.insert({pair.rank, pair.position});
    } else {
      const MergeCandidate pair = queue.Pop();
      ASSERT_EQ(std::make_pair(pair.rank, pair.position), *expected.begin());
      expected.erase(expected.begin());
    }
    ASSERT_EQ(queue.empty(), expected.empty());
  }
}

TEST(PairHeap, GivesTheLowestRankThenTheLeftmost) { ExpectOrder<PairHeap>(); }
TEST(PairLists, GiveTheLowestRankThenTheLeftmost) { ExpectOrder<PairLists>(); }

TEST(SymbolList, NeighboursAreFoundAfterJoins) {
  std::mt19937 random(11);
  for (int round = 0; round < 50; ++round) {
    const auto places = static_cast<uint32_t>(1 + random() % 40);
    SymbolList symbols;
    std::map<uint32_t, int32_t> expected;  // first place -> id
    for (uint32_t i = 0; i < places; ++i) {
      symbols.Add(static_cast<int32_t>(i));
      expected[i] = static_cast<int32_t>(i);
    }
    for (int32_t id = 100; expected.size() > 1; ++id) {
      auto at = expected.begin();
      std::advance(at, random() % (expected.size() - 1));
      symbols.Join(at->first, id);
      at->second = id;
      expected.erase(std::next(at));
      uint32_t previous = places;
      for (auto it = expected.begin(); it != expected.end(); ++it) {
        const uint32_t next = std::next(it) == expected.end() ? places : std::next(it)->first;
        EXPECT_EQ(symbols.id(it->first), it->second);
        EXPECT_EQ(symbols.Next(it->first), next);
        if (previous != places) {
          EXPECT_EQ(symbols.Previous(it->first), previous);
        }
        previous = it->first;
      }
      for (uint32_t i = 0; i < places; ++i) EXPECT_EQ(symbols.IsSymbol(i), expected.contains(i));
    }
    symbols.Clear();
    EXPECT_EQ(symbols.size(), 0u);
  }
}

}  // namespace
}  // namespace smelt::testing
