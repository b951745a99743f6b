#include "lib/text/token_table.h"

#include <algorithm>
#include <bit>

namespace smelt {

void TokenTable::Reserve(size_t tokens, size_t bytes) {
  bytes_.reserve(bytes);
  spans_.reserve(tokens);
  const size_t slots = std::bit_ceil(std::max<size_t>(16, tokens * 2));
  if (slots > slots_.size()) Rehash(slots);
}

size_t TokenTable::SlotOf(std::string_view text) const {
  const size_t mask = slots_.size() - 1;
  size_t slot = HashText(text) & mask;
  while (slots_[slot] >= 0 && Text(slots_[slot]) != text) slot = (slot + 1) & mask;
  return slot;
}

void TokenTable::Rehash(size_t slots) {
  slots_.assign(slots, -1);
  for (size_t id = 0; id < spans_.size(); ++id) {
    if (spans_[id].length == kNone) continue;
    slots_[SlotOf(Text(static_cast<int32_t>(id)))] = static_cast<int32_t>(id);
  }
}

TokenTable::Added TokenTable::Add(int32_t id, std::string_view text) {
  if ((count_ + 1) * 2 > slots_.size()) Rehash(std::max<size_t>(16, slots_.size() * 2));
  if (Has(id)) return Added::kIdTaken;
  const size_t slot = SlotOf(text);
  if (slots_[slot] >= 0) return Added::kTextTaken;
  if (static_cast<size_t>(id) >= spans_.size()) spans_.resize(static_cast<size_t>(id) + 1);
  spans_[id] = {bytes_.size(), static_cast<uint32_t>(text.size())};
  bytes_.append(text);
  slots_[slot] = id;
  ++count_;
  longest_ = std::max(longest_, text.size());
  return Added::kOk;
}

int32_t TokenTable::Find(std::string_view text) const {
  return slots_.empty() ? -1 : slots_[SlotOf(text)];
}

}  // namespace smelt
