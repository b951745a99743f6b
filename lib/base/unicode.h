// Unicode as the Hugging Face `tokenizers` library has it: classes of version 16, older tables for
// normalisation. A model was trained with those, so they are what "right" means here. Everything
// comes from unicode_tables.inc (tools/generate/unicode_tables.py).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace smelt {

/// Bits of CodePointFlags, in the order of the generated table.
enum UnicodeFlag : uint32_t {
  kUnicodeLu = 1u << 0,
  kUnicodeLl = 1u << 1,
  kUnicodeLt = 1u << 2,
  kUnicodeLm = 1u << 3,
  kUnicodeLo = 1u << 4,
  kUnicodeM = 1u << 5,
  kUnicodeN = 1u << 6,
  kUnicodeNd = 1u << 7,
  kUnicodeP = 1u << 8,
  kUnicodeS = 1u << 9,
  kUnicodeZ = 1u << 10,
  kUnicodeSpace = 1u << 11,  ///< White_Space
  kUnicodeWord = 1u << 12,   ///< \w of the regular expressions
  kUnicodeHan = 1u << 13,
  kUnicodeNumeric = 1u << 14,       ///< what the Digits step takes
  kUnicodePunctuation = 1u << 15,   ///< what the Punctuation step takes
  kUnicodeStripAccents = 1u << 16,  ///< what the StripAccents step removes
  kUnicodeBertMark = 1u << 17,      ///< what BertNormalizer's strip_accents removes
  kUnicodeBertRemoved = 1u << 18,   ///< what BertNormalizer's clean_text removes
  kUnicodeL = kUnicodeLu | kUnicodeLl | kUnicodeLt | kUnicodeLm | kUnicodeLo,
};

/// Flags of a code point; 0 above U+10FFFF.
uint32_t CodePointFlags(char32_t code_point);

/// Inclusive ranges of the code points that have any of `flags`, ascending, not touching each
/// other.
std::vector<std::pair<char32_t, char32_t>> RangesOfFlags(uint32_t flags);

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };

/// `text` is valid UTF-8. Linear apart from the sorting of marks within one character.
std::string Normalize(std::string_view text, NormalForm form);

/// A character of a normal form and how the library counts its origin: `change` 0 replaces one
/// character of the text, -n that one and the n next, 1 none (it belongs to the one before).
struct NormalizedChar {
  char32_t code_point;
  int change;
};
std::vector<NormalizedChar> NormalizeWithChanges(std::string_view text, NormalForm form);

/// Lower case, code point by code point (no context rules).
void AppendLowercase(std::string& out, char32_t code_point);

}  // namespace smelt
