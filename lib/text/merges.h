// Byte-pair merging: the pair with the lowest rank first, the leftmost of equals.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <queue>
#include <unordered_map>
#include <vector>

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
    for (size_t i = Hash(key) & mask;; i = (i + 1) & mask) {
      if (slots_[i].key == key) return &slots_[i].merge;
      if (slots_[i].key == kFree) return nullptr;
    }
  }
  /// Soon Set or Find of this pair will follow.
  void Prefetch(int32_t left, int32_t right) const {
    if (!slots_.empty()) __builtin_prefetch(&slots_[Hash(Key(left, right)) & (slots_.size() - 1)]);
  }
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
  static uint64_t Hash(uint64_t key) {
    key *= 0x9e3779b97f4a7c15ull;
    return key ^ (key >> 32);
  }
  void Rehash(size_t slots);
  std::vector<Slot> slots_;
  size_t count_ = 0;
};

/// A part of a word: an id (negative: no token has this text), and where its bytes begin. Linked in
/// both directions.
struct Symbol {
  int32_t id;
  uint32_t begin;
  int32_t previous, next;  ///< -1 at the ends
  bool dead = false;
  bool frozen = false;  ///< takes no part in merges
};

struct MergeCandidate {
  uint32_t rank;
  uint32_t position;
  int32_t id;
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
/// rank, nearly always in order already, and cost no walk through a heap beyond the caches.
class PairLists {
 public:
  void Push(MergeCandidate pair);
  bool empty() const { return ranks_.empty(); }
  MergeCandidate Pop();

 private:
  struct List {
    std::vector<MergeCandidate> in_order;
    size_t next = 0;
    std::priority_queue<MergeCandidate, std::vector<MergeCandidate>, std::greater<>> late;
  };
  std::priority_queue<uint32_t, std::vector<uint32_t>, std::greater<>>
      ranks_;  ///< of lists that are not empty
  std::unordered_map<uint32_t, List> lists_;
};

/// Merges until nothing merges. `find(left, right)` gives a pointer to a Merge or nullptr, from two
/// symbols' indices. What remains is linked from symbols[0]. O(n log n).
template <typename Queue, typename Find>
void MergeWith(Queue& queue, std::vector<Symbol>& symbols, const Find& find) {
  const auto consider = [&](int32_t left) {
    if (left < 0 || symbols[left].next < 0) return;
    if (const auto merge = find(left, symbols[left].next)) {
      queue.Push({merge->rank, static_cast<uint32_t>(left), merge->id});
    }
  };
  for (size_t i = 0; i + 1 < symbols.size(); ++i) consider(static_cast<int32_t>(i));
  while (!queue.empty()) {
    const MergeCandidate pair = queue.Pop();
    Symbol& left = symbols[pair.position];
    if (left.dead || left.next < 0) continue;
    const auto merge = find(static_cast<int32_t>(pair.position), left.next);
    if (!merge || merge->id != pair.id || merge->rank != pair.rank) continue;  // outdated
    Symbol& right = symbols[left.next];
    right.dead = true;
    left.id = pair.id;
    left.next = right.next;
    if (right.next >= 0) symbols[right.next].previous = static_cast<int32_t>(pair.position);
    consider(left.previous);
    consider(static_cast<int32_t>(pair.position));
  }
}

template <typename Find>
void MergeSymbols(std::vector<Symbol>& symbols, const Find& find) {
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
