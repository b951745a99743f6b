#include "lib/text/components/sentencepiece_normalizer.h"

#include "lib/base/utf8.h"

namespace smelt {

std::string NormalizeAsSentencePiece(std::string_view text, const SentencePieceNormalizer& rules,
                                     const Charsmap& charsmap, const ByteTrie& user_defined,
                                     bool dummy_prefix) {
  // What the next characters become, and how many bytes they are.
  const auto next = [&](std::string_view rest, size_t& length) -> std::string_view {
    length = 0;
    user_defined.Prefixes(rest, [&](size_t n, int32_t) { length = n; });
    if (length > 0) return rest.substr(0, length);
    if (const Charsmap::Rule rule = charsmap.Longest(rest); rule.length > 0) {
      length = rule.length;
      return rule.replacement;
    }
    length = DecodeUtf8(rest.substr(0, 4)).length;
    return rest.substr(0, length);
  };
  size_t length = 0;
  while (rules.remove_extra_whitespaces && !text.empty() && next(text, length) == " ")
    text.remove_prefix(length);
  std::string out;
  if (text.empty()) return out;
  const std::string_view space = rules.escape_whitespaces ? kMetaspace : std::string_view(" ");
  out.reserve(text.size() + text.size() / 2);
  if (dummy_prefix && !rules.whitespace_as_suffix) out.append(space);
  bool after_space = rules.remove_extra_whitespaces;
  while (!text.empty()) {
    std::string_view part = next(text, length);
    text.remove_prefix(length);
    while (after_space && part.starts_with(' ')) part.remove_prefix(1);
    if (!part.empty()) {
      for (const char c : part) {
        if (c == ' ') {
          out.append(space);
        } else {
          out.push_back(c);
        }
      }
      after_space = part.ends_with(' ');
    }
    if (!rules.remove_extra_whitespaces) after_space = false;
  }
  while (rules.remove_extra_whitespaces && out.ends_with(space))
    out.resize(out.size() - space.size());
  if (dummy_prefix && rules.whitespace_as_suffix) out.append(space);
  return out;
}

}  // namespace smelt
