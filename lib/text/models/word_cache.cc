#include "lib/text/models/word_cache.h"

#include <new>

namespace smelt {

void WordCache::Insert(std::string_view word, uint64_t hash, std::span<const int32_t> ids) {
  if (word.empty() || word.size() > kMaxWord || ids.size() > UINT8_MAX) return;
  if (slots_.empty() || used_ * 2 > kSlots) {
    slots_.assign(kSlots, Entry());
    bytes_.clear();
    ids_.clear();
    used_ = 0;
  }
  const Entry entry = {static_cast<uint32_t>(hash >> 32), static_cast<uint32_t>(bytes_.size()),
                       static_cast<uint32_t>(ids_.size()), static_cast<uint8_t>(word.size()),
                       static_cast<uint8_t>(ids.size())};
  bytes_.append(word);
  ids_.insert(ids_.end(), ids.begin(), ids.end());
  size_t slot = hash & kMask;
  while (slots_[slot].length != 0) slot = (slot + 1) & kMask;
  slots_[slot] = entry;  // once what it points to is there
  ++used_;
}

std::unique_ptr<WordCache> CachePool::Take() {
  const std::lock_guard lock(mutex_);
  if (free_.empty()) return std::make_unique<WordCache>();
  std::unique_ptr<WordCache> cache = std::move(free_.back());
  free_.pop_back();
  return cache;
}

void CachePool::Give(std::unique_ptr<WordCache> cache) {
  const std::lock_guard lock(mutex_);
  try {
    free_.push_back(std::move(cache));
  } catch (const std::bad_alloc&) {  // the next call makes one anew
  }
}

}  // namespace smelt
