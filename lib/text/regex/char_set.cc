#include "lib/text/regex/char_set.h"

#include <utf8proc.h>

#include <algorithm>
#include <iterator>
#include <string>

#include "lib/base/unicode.h"

namespace smelt {
namespace {

struct PropertyRange {
  char32_t first, last;
};
struct NamedProperty {
  std::string_view name;
  uint32_t offset, count;
};
#include "lib/text/regex/property_tables.inc"

// The character that stands for all of the same letter in any case.
char32_t CaseKey(char32_t c) {
  if (c == 0x130 || c == 0x131) return c;  // Turkish: letters of their own
  return static_cast<char32_t>(utf8proc_tolower(utf8proc_toupper(static_cast<int32_t>(c))));
}

struct CasedChar {
  char32_t c, key;
};

// Every character that has another letter case, ordered by itself and by its key.
struct CasedChars {
  CasedChars() {
    CharSet cased = Union(RangesOfFlags(kUnicodeLu | kUnicodeLl | kUnicodeLt),
                          {{0x345, 0x345}, {0x2160, 0x217f}, {0x24b6, 0x24e9}});
    for (const auto& [first, last] : cased) {
      for (char32_t c = first; c <= last; ++c) by_char.push_back({c, CaseKey(c)});
    }
    by_key = by_char;
    std::stable_sort(by_key.begin(), by_key.end(),
                     [](const CasedChar& a, const CasedChar& b) { return a.key < b.key; });
  }
  std::vector<CasedChar> by_char, by_key;
};

// U+00DF and others whose full case folding in CaseFolding.txt has several characters (status F).
constexpr PropertyRange kFoldToSeveral[] = {
    {0x00df, 0x00df}, {0x0130, 0x0130}, {0x0149, 0x0149}, {0x01f0, 0x01f0}, {0x0390, 0x0390},
    {0x03b0, 0x03b0}, {0x0587, 0x0587}, {0x1e96, 0x1e9a}, {0x1e9e, 0x1e9e}, {0x1f50, 0x1f50},
    {0x1f52, 0x1f52}, {0x1f54, 0x1f54}, {0x1f56, 0x1f56}, {0x1f80, 0x1faf}, {0x1fb2, 0x1fb4},
    {0x1fb6, 0x1fb7}, {0x1fbc, 0x1fbc}, {0x1fc2, 0x1fc4}, {0x1fc6, 0x1fc7}, {0x1fcc, 0x1fcc},
    {0x1fd2, 0x1fd3}, {0x1fd6, 0x1fd7}, {0x1fe2, 0x1fe4}, {0x1fe6, 0x1fe7}, {0x1ff2, 0x1ff4},
    {0x1ff6, 0x1ff7}, {0x1ffc, 0x1ffc}, {0xfb00, 0xfb06}, {0xfb13, 0xfb17},
};

}  // namespace

CharSet Union(const CharSet& a, const CharSet& b) {
  CharSet all = a;
  all.insert(all.end(), b.begin(), b.end());
  std::sort(all.begin(), all.end());
  CharSet out;
  for (const auto& [first, last] : all) {
    if (!out.empty() && first <= out.back().second + 1) {
      out.back().second = std::max(out.back().second, last);
    } else {
      out.emplace_back(first, last);
    }
  }
  return out;
}

CharSet Complement(const CharSet& set) {
  CharSet out;
  char32_t next = 0;
  for (const auto& [first, last] : set) {
    if (first > next) out.emplace_back(next, first - 1);
    next = last + 1;
  }
  if (next <= 0x10ffff) out.emplace_back(next, 0x10ffff);
  return out;
}

bool Contains(const CharSet& set, char32_t c) {
  const auto after = std::upper_bound(set.begin(), set.end(), std::pair(c, char32_t{0x7fffffff}));
  return after != set.begin() && c <= after[-1].second;
}

std::optional<CharSet> PropertySet(std::string_view name) {
  struct Property {
    std::string_view name;
    uint32_t flags;
  };
  static constexpr Property kProperties[] = {
      {"L", kUnicodeL},           {"Lu", kUnicodeLu},    {"Ll", kUnicodeLl},
      {"Lt", kUnicodeLt},         {"Lm", kUnicodeLm},    {"Lo", kUnicodeLo},
      {"M", kUnicodeM},           {"N", kUnicodeN},      {"Nd", kUnicodeNd},
      {"P", kUnicodeP},           {"S", kUnicodeS},      {"Z", kUnicodeZ},
      {"Han", kUnicodeHan},       {"Letter", kUnicodeL}, {"Number", kUnicodeN},
      {"Punctuation", kUnicodeP}, {"Symbol", kUnicodeS}, {"Mark", kUnicodeM},
  };
  for (const Property& property : kProperties) {
    if (property.name == name) return RangesOfFlags(property.flags);
  }
  std::string key;
  for (const char c : name) {
    if (c == ' ' || c == '_' || c == '-') continue;
    key.push_back(c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c);
  }
  const auto at =
      std::lower_bound(std::begin(kNamedProperties), std::end(kNamedProperties), key,
                       [](const NamedProperty& p, const std::string& k) { return p.name < k; });
  if (at == std::end(kNamedProperties) || at->name != key) return std::nullopt;
  CharSet set;
  for (uint32_t i = 0; i < at->count; ++i)
    set.emplace_back(kPropertyRanges[at->offset + i].first, kPropertyRanges[at->offset + i].last);
  return set;
}

CharSet EscapeSet(char letter) {
  switch (letter) {
    case 's':
      return RangesOfFlags(kUnicodeSpace);
    case 'd':
      return RangesOfFlags(kUnicodeNd);
    default:
      return RangesOfFlags(kUnicodeWord);
  }
}

const CharSet& RustWordSet() {
  static const CharSet set = Union(RangesOfFlags(kUnicodeL | kUnicodeM | kUnicodeNd),
                                   {// connectors
                                    {'_', '_'},
                                    {0x203f, 0x2040},
                                    {0x2054, 0x2054},
                                    {0xfe33, 0xfe34},
                                    {0xfe4d, 0xfe4f},
                                    {0xff3f, 0xff3f},
                                    // joiners
                                    {0x200c, 0x200d},
                                    // letter numbers
                                    {0x16ee, 0x16f0},
                                    {0x2160, 0x2182},
                                    {0x2185, 0x2188},
                                    {0x3007, 0x3007},
                                    {0x3021, 0x3029},
                                    {0x3038, 0x303a},
                                    {0xa6e6, 0xa6ef},
                                    {0x10140, 0x10174},
                                    {0x10341, 0x10341},
                                    {0x1034a, 0x1034a},
                                    {0x103d1, 0x103d5},
                                    {0x12400, 0x1246e},
                                    // symbols with the property Alphabetic
                                    {0x24b6, 0x24e9},
                                    {0x1f130, 0x1f149},
                                    {0x1f150, 0x1f169},
                                    {0x1f170, 0x1f189}});
  return set;
}

CharSet FoldCase(const CharSet& set) {
  static const CasedChars cased;
  CharSet all = set;
  for (const auto& [first, last] : set) {
    auto at = std::lower_bound(cased.by_char.begin(), cased.by_char.end(), first,
                               [](const CasedChar& a, char32_t c) { return a.c < c; });
    for (; at != cased.by_char.end() && at->c <= last; ++at) {
      auto same = std::lower_bound(cased.by_key.begin(), cased.by_key.end(), at->key,
                                   [](const CasedChar& a, char32_t key) { return a.key < key; });
      for (; same != cased.by_key.end() && same->key == at->key; ++same)
        all.emplace_back(same->c, same->c);
    }
  }
  return Union(all, {});
}

bool FoldsToSeveral(char32_t c) {
  return std::any_of(std::begin(kFoldToSeveral), std::end(kFoldToSeveral),
                     [&](const PropertyRange& r) { return r.first <= c && c <= r.last; });
}

bool FoldTogether(char32_t first, char32_t second) {
  const char32_t a = CaseKey(first), b = CaseKey(second);
  return (a == 's' && (b == 's' || b == 't')) || (a == 'f' && (b == 'f' || b == 'i' || b == 'l'));
}

}  // namespace smelt
