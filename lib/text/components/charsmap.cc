#include "lib/text/components/charsmap.h"

#include <cstring>

#include "lib/base/status.h"
#include "lib/base/utf8.h"

namespace smelt {
namespace {

// A unit of Darts-clone: https://github.com/s-yata/darts-clone, darts.h.
bool HasLeaf(uint32_t unit) { return (unit >> 8) & 1; }
uint32_t Value(uint32_t unit) { return unit & 0x7fffffffu; }
uint32_t Label(uint32_t unit) { return unit & 0x800000ffu; }
uint32_t Offset(uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); }

}  // namespace

absl::StatusOr<Charsmap> Charsmap::Parse(std::string_view blob) {
  const auto bad = [](std::string_view what) {
    return Error(ErrorCode::kInvalidInput, "the normalizer's precompiled charsmap ", what);
  };
  Charsmap map;
  if (blob.empty()) return map;
  uint32_t size = 0;
  if (blob.size() < 4) return bad("is shorter than its header");
  std::memcpy(&size, blob.data(), 4);
  if (size > blob.size() - 4 || size % 4 != 0 || size == 0) {
    return bad(Cat("says its trie has ", size, " bytes, but ", blob.size() - 4, " follow"));
  }
  map.units_.resize(size / 4);
  std::memcpy(map.units_.data(), blob.data() + 4, size);
  map.replacements_ = blob.substr(4 + size);
  if (!IsValidUtf8(map.replacements_)) return bad("has replacements that are not UTF-8");
  // Walk every path once: children of a unit lie at position ^ label.
  const size_t n = map.units_.size();
  std::vector<bool> seen(n, false);
  std::vector<uint32_t> todo = {0};
  seen[0] = true;
  while (!todo.empty()) {
    const uint32_t at = todo.back();
    todo.pop_back();
    const uint64_t base = static_cast<uint64_t>(at) ^ Offset(map.units_[at]);
    if (HasLeaf(map.units_[at])) {
      if (base >= n) return bad("has a trie that points outside itself");
      if (Value(map.units_[base]) >= map.replacements_.size())
        return bad("has a trie value outside the replacements");
    }
    for (uint64_t label = 1; label < 256; ++label) {
      const uint64_t child = base ^ label;
      if (child >= n || Label(map.units_[child]) != label || seen[child]) continue;
      seen[child] = true;
      todo.push_back(static_cast<uint32_t>(child));
    }
    if (base >= n && base != at) return bad("has a trie that points outside itself");
  }
  return map;
}

Charsmap::Rule Charsmap::Find(std::string_view text, bool longest) const {
  Rule rule{0, {}};
  if (units_.empty()) return rule;
  uint64_t at = Offset(units_[0]);
  for (size_t i = 0; i < text.size(); ++i) {
    at ^= static_cast<unsigned char>(text[i]);
    if (at >= units_.size()) break;
    const uint32_t unit = units_[at];
    if (Label(unit) != static_cast<unsigned char>(text[i])) break;
    at ^= Offset(unit);
    if (!HasLeaf(unit)) continue;
    if (at >= units_.size()) break;
    const uint32_t value = Value(units_[at]);
    if (value >= replacements_.size()) break;
    rule = {i + 1, std::string_view(replacements_.c_str() + value)};
    if (!longest) break;
  }
  return rule;
}

}  // namespace smelt
