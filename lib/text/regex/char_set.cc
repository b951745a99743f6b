#include "lib/text/regex/char_set.h"

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
#include "lib/text/property_tables.inc"

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

std::optional<CharSet> FoldAscii(const CharSet& set) {
  CharSet extra;
  const auto both = [&](char32_t lower) {
    const bool special =
        (lower == 's' && Contains(set, 0x17f)) || (lower == 'k' && Contains(set, 0x212a));
    if (!Contains(set, lower) && !Contains(set, lower - 32) && !special) return;
    extra = Union(extra, {{lower - 32, lower - 32}, {lower, lower}});
    if (lower == 's') extra = Union(extra, {{0x17f, 0x17f}});
    if (lower == 'k') extra = Union(extra, {{0x212a, 0x212a}});
  };
  for (char32_t c = 'a'; c <= 'z'; ++c) both(c);
  if (!set.empty() && set.back().second >= 0x80) {
    // Beyond ASCII only sets without cased letters, or with all of them, are closed under case.
    const CharSet cased = RangesOfFlags(kUnicodeLu | kUnicodeLl | kUnicodeLt);
    size_t in = 0, out = 0;
    for (const auto& [first, last] : cased) {
      for (char32_t c = std::max<char32_t>(first, 0x80); c <= last; ++c)
        (Contains(set, c) ? in : out) += 1;
    }
    if (in != 0 && out != 0) return std::nullopt;
  }
  return Union(set, extra);
}

}  // namespace smelt
