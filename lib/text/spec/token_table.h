// Distinct texts and their ids, compactly: one arena, one open-addressing table.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/text_hash.h"

namespace smelt {

/// Texts of ids. Ids need not be dense nor come in order; the caller bounds them.
class TokenTable {
 public:
  enum class Added { kOk, kTextTaken, kIdTaken };

  void Reserve(size_t tokens, size_t bytes);
  /// `id` >= 0.
  Added Add(int32_t id, std::string_view text);
  /// -1 when there is none.
  int32_t Find(std::string_view text) const;
  /// ids[i] = Find(texts[i]). A lookup in a large table is a row of waits for memory; here those of
  /// many overlap.
  void FindAll(std::span<const std::string_view> texts, std::span<int32_t> ids) const;
  bool Has(int32_t id) const {
    return id >= 0 && static_cast<size_t>(id) < spans_.size() && spans_[id].length != kNone;
  }
  /// Empty for ids without a text.
  std::string_view Text(int32_t id) const {
    return Has(id) ? std::string_view(bytes_).substr(spans_[id].offset, spans_[id].length)
                   : std::string_view();
  }
  size_t count() const { return count_; }        ///< texts
  size_t size() const { return spans_.size(); }  ///< highest id + 1
  size_t longest() const { return longest_; }    ///< bytes of the longest text

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  struct Span {
    uint64_t offset = 0;
    uint32_t length = kNone;
  };
  struct Slot {
    int32_t id = -1;   ///< -1: free
    uint32_t tag = 0;  ///< of the hash, so that other texts are seldom looked at
  };
  static uint32_t Tag(uint64_t hash) { return static_cast<uint32_t>(hash >> 32); }
  void Rehash(size_t slots);
  size_t SlotOf(std::string_view text, uint64_t hash) const;

  std::string bytes_;
  std::vector<Span> spans_;
  std::vector<Slot> slots_;  ///< power of two
  size_t count_ = 0;
  size_t longest_ = 0;
};

}  // namespace smelt
