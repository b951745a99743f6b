// Ids of words seen before. Text repeats its words, so most of encoding is looking them up here.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/text/spec/token_table.h"

namespace smelt {

/// Bounded: forgets everything when full. Not thread-safe; see CachePool.
class WordCache {
 public:
  static constexpr size_t kMaxWord = 64;  ///< longer words are not kept

  /// Appends the ids of `word`, false when it is not known. `hash`: HashText(word), here and below.
  bool Append(std::string_view word, uint64_t hash, std::vector<int32_t>& out) const {
    if (slots_.empty() || word.size() > kMaxWord) return false;
    for (size_t slot = hash & kMask;; slot = (slot + 1) & kMask) {
      const Entry& e = slots_[slot];
      if (e.length == 0) return false;
      if (e.hash == static_cast<uint32_t>(hash >> 32) && e.length == word.size() &&
          std::memcmp(bytes_.data() + e.text, word.data(), word.size()) == 0) {
        out.insert(out.end(), ids_.begin() + e.ids, ids_.begin() + e.ids + e.count);
        return true;
      }
    }
  }
  void Insert(std::string_view word, uint64_t hash, std::span<const int32_t> ids);

 private:
  static constexpr size_t kSlots = size_t{1} << 16;
  static constexpr size_t kMask = kSlots - 1;
  struct Entry {
    uint32_t hash = 0;
    uint32_t text = 0;
    uint32_t ids = 0;
    uint8_t length = 0;  ///< 0: free
    uint8_t count = 0;
  };
  std::vector<Entry> slots_;
  std::string bytes_;
  std::vector<int32_t> ids_;
  size_t used_ = 0;
};

/// Caches lent to one call at a time, so that encoding from several threads needs no lock while it
/// runs.
class CachePool {
 public:
  class Lease {
   public:
    explicit Lease(CachePool& pool) : pool_(pool), cache_(pool.Take()) {}
    ~Lease() { pool_.Give(std::move(cache_)); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    WordCache& operator*() const { return *cache_; }

   private:
    CachePool& pool_;
    std::unique_ptr<WordCache> cache_;
  };

 private:
  std::unique_ptr<WordCache> Take();
  void Give(std::unique_ptr<WordCache> cache);
  std::mutex mutex_;
  std::vector<std::unique_ptr<WordCache>> free_;
};

}  // namespace smelt
