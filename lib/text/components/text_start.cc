#include "lib/text/components/text_start.h"

#include "lib/base/utf8.h"

namespace smelt {

size_t StartOf(std::string_view text) {
  return text.empty() ? 0 : DecodeUtf8(text.substr(0, 4)).length;
}

size_t StartAfter(std::string_view text, size_t start, const std::vector<NormalizedChar>& changed) {
  size_t taken = 0;  // bytes of `text` that stand behind
  std::string out;
  for (const NormalizedChar& c : changed) {
    // A new character lies where the byte before it lay.
    const bool first = c.change > 0 ? taken == 0 || taken - 1 < start : taken < start;
    if (!first) break;
    AppendUtf8(out, c.code_point);
    for (int i = c.change; i <= 0 && taken < text.size(); ++i)
      taken += DecodeUtf8(text.substr(taken, 4)).length;
  }
  return out.size();
}

size_t StartAfterForm(std::string_view text, size_t start, NormalForm form) {
  // Nothing reaches back across an ASCII character, and marks without end are not text.
  constexpr size_t kReach = 512;
  if (start == 0) return 0;
  size_t end = start;
  while (end < text.size() && end < start + kReach && static_cast<unsigned char>(text[end]) >= 0x80)
    end += DecodeUtf8(text.substr(end, 4)).length;
  return StartAfter(text, start, NormalizeWithChanges(text.substr(0, end), form));
}

}  // namespace smelt
