#include "lib/text/models/merges.h"

#include <algorithm>
#include <array>
#include <bit>

namespace smelt {

void MergeTable::Rehash(size_t slots) {
  std::vector<Slot> old = std::move(slots_);
  slots_.assign(slots, Slot());
  const size_t mask = slots - 1;
  for (const Slot& slot : old) {
    if (slot.key == kFree) continue;
    size_t i = Hash(static_cast<int32_t>(slot.key >> 32), static_cast<int32_t>(slot.key)) & mask;
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
  size_t i = Hash(left, right) & mask;
  while (slots_[i].key != kFree && slots_[i].key != key) i = (i + 1) & mask;
  if (slots_[i].key == kFree) ++count_;
  slots_[i] = {key, merge};
}

size_t MergeTable::MergeShort(int32_t* ids, size_t count) const {
  // Looking a pair up again costs a walk into a large table: what was found stays in `found`.
  std::array<const Merge*, kShort> found;
  for (size_t i = 0; i + 1 < count; ++i) Prefetch(ids[i], ids[i + 1]);
  for (size_t i = 0; i + 1 < count; ++i) found[i] = Find(ids[i], ids[i + 1]);
  while (count > 1) {
    size_t best = 0;
    const Merge* merge = nullptr;
    for (size_t i = 0; i + 1 < count; ++i) {
      if (found[i] != nullptr && (merge == nullptr || found[i]->rank < merge->rank)) {
        best = i;
        merge = found[i];
      }
    }
    if (merge == nullptr) break;
    ids[best] = merge->id;
    std::copy(ids + best + 2, ids + count, ids + best + 1);
    if (best + 2 < count) std::copy(&found[best + 2], &found[count - 1], &found[best + 1]);
    --count;
    if (best > 0) found[best - 1] = Find(ids[best - 1], ids[best]);
    if (best + 1 < count) found[best] = Find(ids[best], ids[best + 1]);
  }
  return count;
}

void PairLists::Push(MergeCandidate pair) {
  List& list = lists_[pair.rank];
  if (list.in_order.empty() && list.late.empty()) ranks_.push(pair.rank);
  if (list.in_order.empty() || list.in_order.back() <= pair.position) {
    list.in_order.push_back(pair.position);
  } else {
    list.late.push(pair.position);
  }
}

MergeCandidate PairLists::Pop() {
  const uint32_t rank = ranks_.top();
  const auto entry = lists_.find(rank);
  List& list = entry->second;
  MergeCandidate pair{rank, 0};
  if (!list.late.empty() && (list.in_order.empty() || list.in_order.front() > list.late.top())) {
    pair.position = list.late.top();
    list.late.pop();
  } else {
    pair.position = list.in_order.front();
    list.in_order.pop_front();
  }
  if (list.in_order.empty() && list.late.empty()) {
    lists_.erase(entry);
    ranks_.pop();
  }
  return pair;
}

}  // namespace smelt
