#include "lib/text/merges.h"

#include <algorithm>
#include <bit>

namespace smelt {

void MergeTable::Rehash(size_t slots) {
  std::vector<Slot> old = std::move(slots_);
  slots_.assign(slots, Slot());
  const size_t mask = slots - 1;
  for (const Slot& slot : old) {
    if (slot.key == kFree) continue;
    size_t i = Hash(slot.key) & mask;
    while (slots_[i].key != kFree) i = (i + 1) & mask;
    slots_[i] = slot;
  }
}

void MergeTable::Reserve(size_t merges) {
  const size_t slots = std::bit_ceil(std::max<size_t>(16, merges + merges / 2));
  if (slots > slots_.size()) Rehash(slots);
}

void MergeTable::Set(int32_t left, int32_t right, Merge merge) {
  if ((count_ + 1) * 5 > slots_.size() * 4) Rehash(std::max<size_t>(16, slots_.size() * 2));
  const uint64_t key = Key(left, right);
  const size_t mask = slots_.size() - 1;
  size_t i = Hash(key) & mask;
  while (slots_[i].key != kFree && slots_[i].key != key) i = (i + 1) & mask;
  if (slots_[i].key == kFree) ++count_;
  slots_[i] = {key, merge};
}

void PairLists::Push(MergeCandidate pair) {
  List& list = lists_[pair.rank];
  if (list.next == list.in_order.size() && list.late.empty()) ranks_.push(pair.rank);
  if (list.in_order.empty() || list.in_order.back().position <= pair.position) {
    list.in_order.push_back(pair);
  } else {
    list.late.push(pair);
  }
}

MergeCandidate PairLists::Pop() {
  List& list = lists_[ranks_.top()];
  const bool ordered = list.next < list.in_order.size();
  MergeCandidate pair;
  if (!list.late.empty() && (!ordered || list.in_order[list.next] > list.late.top())) {
    pair = list.late.top();
    list.late.pop();
  } else {
    pair = list.in_order[list.next++];
  }
  if (list.next == list.in_order.size()) {
    list.in_order.clear();
    list.next = 0;
    if (list.late.empty()) ranks_.pop();
  }
  return pair;
}

}  // namespace smelt
