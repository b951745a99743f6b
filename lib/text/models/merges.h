// Byte-pair merging: the pair with the lowest rank first, the leftmost of equals.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <queue>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lib/base/text_hash.h"

namespace smelt {

struct Merge {
  uint32_t rank;
  int32_t id;
};

/// (left id, right id) -> rank and id of the result.
class MergeTable {
 public:
  void Reserve(size_t merges);
  /// A pair given twice keeps the later rank.
  void Set(int32_t left, int32_t right, Merge merge);
  const Merge* Find(int32_t left, int32_t right) const {
    if (slots_.empty()) return nullptr;
    const uint64_t key = Key(left, right);
    const size_t mask = slots_.size() - 1;
    for (size_t i = Hash(left, right) & mask;; i = (i + 1) & mask) {
      if (slots_[i].key == key) return &slots_[i].merge;
      if (slots_[i].key == kFree) return nullptr;
    }
  }
  /// Soon Set or Find of this pair will follow.
  void Prefetch(int32_t left, int32_t right) const {
    if (!slots_.empty()) __builtin_prefetch(&slots_[Hash(left, right) & (slots_.size() - 1)]);
  }
  static constexpr size_t kShort = 32;
  /// Merges at most kShort ids in place until nothing merges; how many remain. Quadratic in them,
  /// and faster than a queue.
  size_t MergeShort(int32_t* ids, size_t count) const;
  size_t count() const { return count_; }

 private:
  static constexpr uint64_t kFree = UINT64_MAX;
  struct Slot {
    uint64_t key = kFree;
    Merge merge{};
  };
  static uint64_t Key(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  static size_t Hash(int32_t left, int32_t right) {
    return HashPair(static_cast<uint32_t>(left), static_cast<uint32_t>(right));
  }
  void Rehash(size_t slots);
  std::vector<Slot> slots_;
  size_t count_ = 0;
};

/// The symbols of a word while they merge, in 8 bytes per place, so that a word may be megabytes
/// long. A symbol is named by its first place. Its length stands at its first and at its last
/// place, so that both neighbours are found.
class SymbolList {
 public:
  static constexpr int32_t kNoId = -1;    ///< no token has this text
  static constexpr int32_t kFrozen = -2;  ///< takes no part in merges

  void Reserve(size_t places) { places_.reserve(places); }
  void Clear() { places_.clear(); }
  void Add(int32_t id) { places_.push_back({id, 1}); }
  uint32_t size() const { return static_cast<uint32_t>(places_.size()); }  ///< places
  int32_t id(uint32_t symbol) const { return places_[symbol].id; }
  /// size() behind the last one.
  uint32_t Next(uint32_t symbol) const { return symbol + places_[symbol].width; }
  uint32_t Previous(uint32_t symbol) const { return symbol - places_[symbol - 1].width; }
  /// False for a place inside a symbol.
  bool IsSymbol(uint32_t place) const { return places_[place].id != kDead; }
  /// Makes one of a symbol and the next.
  void Join(uint32_t symbol, int32_t id) {
    const uint32_t next = Next(symbol), end = Next(next);
    places_[next].id = kDead;
    places_[symbol] = {id, end - symbol};
    places_[end - 1].width = end - symbol;
  }

 private:
  static constexpr int32_t kDead = -3;
  struct Place {
    int32_t id;
    uint32_t width;
  };
  std::vector<Place> places_;
};

/// A merge that may be waiting: of the symbol at `position` and the next.
struct MergeCandidate {
  uint32_t rank;
  uint32_t position;
  friend bool operator>(const MergeCandidate& a, const MergeCandidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
  }
};

/// Candidates, lowest (rank, position) first: a heap, right for texts of ordinary length.
class PairHeap {
 public:
  void Push(MergeCandidate pair) { heap_.push(pair); }
  bool empty() const { return heap_.empty(); }
  MergeCandidate Pop() {
    const MergeCandidate top = heap_.top();
    heap_.pop();
    return top;
  }

 private:
  std::priority_queue<MergeCandidate, std::vector<MergeCandidate>, std::greater<>> heap_;
};

/// The same for very long texts. They have few different ranks, so positions wait in one list per
/// rank, nearly always in order already, and cost no walk through a heap beyond the caches. What
/// was taken from a list is freed as it goes on.
class PairLists {
 public:
  void Push(MergeCandidate pair);
  bool empty() const { return ranks_.empty(); }
  MergeCandidate Pop();

 private:
  struct List {
    std::deque<uint32_t> in_order;
    std::priority_queue<uint32_t, std::vector<uint32_t>, std::greater<>> late;
  };
  std::priority_queue<uint32_t, std::vector<uint32_t>, std::greater<>>
      ranks_;  ///< of lists that are not empty
  std::unordered_map<uint32_t, List, NumberHash> lists_;
};

/// Merges until nothing merges. `find(left, right)` gives a pointer to a Merge or nullptr (or an
/// optional one), from two neighbouring symbols. O(n log n).
template <typename Queue, typename Find>
void MergeWith(Queue& queue, SymbolList& symbols, const Find& find) {
  const auto consider = [&](uint32_t left) {
    const uint32_t right = symbols.Next(left);
    if (right == symbols.size()) return;
    if (const auto merge = find(left, right)) queue.Push({merge->rank, left});
  };
  for (uint32_t i = 0; i < symbols.size(); i = symbols.Next(i)) consider(i);
  while (!queue.empty()) {
    const MergeCandidate pair = queue.Pop();
    if (!symbols.IsSymbol(pair.position)) continue;
    const uint32_t next = symbols.Next(pair.position);
    if (next == symbols.size()) continue;
    // Another pair of the same rank at the same place would have been the next in any case.
    const auto merge = find(pair.position, next);
    if (!merge || merge->rank != pair.rank) continue;  // outdated
    symbols.Join(pair.position, merge->id);
    if (pair.position > 0) consider(symbols.Previous(pair.position));
    consider(pair.position);
  }
}

template <typename Find>
void MergeSymbols(SymbolList& symbols, const Find& find) {
  constexpr size_t kLong = 4096;
  if (symbols.size() < kLong) {
    PairHeap queue;
    MergeWith(queue, symbols, find);
  } else {
    PairLists queue;
    MergeWith(queue, symbols, find);
  }
}

}  // namespace smelt
