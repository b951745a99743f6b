#include "lib/text/spec/token_table.h"

#include <algorithm>
#include <array>
#include <bit>

namespace smelt {

void TokenTable::Reserve(size_t tokens, size_t bytes) {
  bytes_.reserve(bytes);
  spans_.reserve(tokens);
  const size_t slots = std::bit_ceil(std::max<size_t>(16, tokens * 2));
  if (slots > slots_.size()) Rehash(slots);
}

size_t TokenTable::SlotOf(std::string_view text, uint64_t hash) const {
  const size_t mask = slots_.size() - 1;
  size_t slot = hash & mask;
  while (slots_[slot].id >= 0 && (slots_[slot].tag != Tag(hash) || Text(slots_[slot].id) != text))
    slot = (slot + 1) & mask;
  return slot;
}

void TokenTable::Rehash(size_t slots) {
  slots_.assign(slots, Slot());
  for (size_t id = 0; id < spans_.size(); ++id) {
    if (spans_[id].length == kNone) continue;
    const std::string_view text = Text(static_cast<int32_t>(id));
    const uint64_t hash = HashText(text);
    slots_[SlotOf(text, hash)] = {static_cast<int32_t>(id), Tag(hash)};
  }
}

TokenTable::Added TokenTable::Add(int32_t id, std::string_view text) {
  if ((count_ + 1) * 2 > slots_.size()) Rehash(std::max<size_t>(16, slots_.size() * 2));
  if (Has(id)) return Added::kIdTaken;
  const uint64_t hash = HashText(text);
  const size_t slot = SlotOf(text, hash);
  if (slots_[slot].id >= 0) return Added::kTextTaken;
  if (static_cast<size_t>(id) >= spans_.size()) spans_.resize(static_cast<size_t>(id) + 1);
  spans_[id] = {bytes_.size(), static_cast<uint32_t>(text.size())};
  bytes_.append(text);
  slots_[slot] = {id, Tag(hash)};
  ++count_;
  longest_ = std::max(longest_, text.size());
  return Added::kOk;
}

int32_t TokenTable::Find(std::string_view text) const {
  return slots_.empty() ? -1 : slots_[SlotOf(text, HashText(text))].id;
}

void TokenTable::FindAll(std::span<const std::string_view> texts, std::span<int32_t> ids) const {
  constexpr size_t kAtOnce = 64;
  const size_t mask = slots_.size() - 1;
  std::array<uint64_t, kAtOnce> hashes;
  for (size_t first = 0; first < texts.size(); first += kAtOnce) {
    const size_t n = std::min(kAtOnce, texts.size() - first);
    if (slots_.empty()) {
      std::fill_n(ids.begin() + static_cast<std::ptrdiff_t>(first), n, -1);
      continue;
    }
    for (size_t i = 0; i < n; ++i) {
      hashes[i] = HashText(texts[first + i]);
      __builtin_prefetch(&slots_[hashes[i] & mask]);
    }
    // The first slot is nearly always the one; where it is, its text is fetched ahead.
    const auto likely = [&](size_t i) { return slots_[hashes[i] & mask].id; };
    for (size_t i = 0; i < n; ++i) {
      if (likely(i) >= 0) __builtin_prefetch(&spans_[static_cast<size_t>(likely(i))]);
    }
    for (size_t i = 0; i < n; ++i) {
      if (likely(i) >= 0) __builtin_prefetch(Text(likely(i)).data());
    }
    for (size_t i = 0; i < n; ++i) ids[first + i] = slots_[SlotOf(texts[first + i], hashes[i])].id;
  }
}

}  // namespace smelt
