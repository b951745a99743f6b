#include "lib/base/unicode.h"

#include <algorithm>
#include <array>
#include <iterator>

#include "lib/base/utf8.h"

namespace smelt {
namespace {

struct ClassRun {
  char32_t first;
  uint32_t flags;
};
struct Mapping {
  char32_t code_point;
  uint32_t offset;
  uint32_t length;
};
struct CombiningRun {
  char32_t first, last;
  uint8_t combining_class;
};
struct Composition {
  char32_t first, second, composed;
};

#include "lib/base/unicode_tables.inc"

constexpr char32_t kLimit = 0x110000;
constexpr size_t kPageBits = 8;
constexpr size_t kPageSize = size_t{1} << kPageBits;

// Two levels: most pages of 256 code points are alike.
class ClassTable {
 public:
  ClassTable() {
    const ClassRun* run = std::begin(kClassRuns);
    std::array<uint32_t, kPageSize> page;
    for (char32_t first = 0; first < kLimit; first += kPageSize) {
      for (size_t i = 0; i < kPageSize; ++i) {
        while (run + 1 != std::end(kClassRuns) && run[1].first <= first + i) ++run;
        page[i] = run->flags;
      }
      auto same = std::find(pages_.rbegin(), pages_.rend(), page);
      if (same == pages_.rend()) {
        pages_.push_back(page);
        same = pages_.rbegin();
      }
      index_[first >> kPageBits] = static_cast<uint16_t>(pages_.rend() - same - 1);
    }
  }
  uint32_t Flags(char32_t c) const {
    return c < kLimit ? pages_[index_[c >> kPageBits]][c & (kPageSize - 1)] : 0;
  }

 private:
  std::array<uint16_t, kLimit / kPageSize> index_;
  std::vector<std::array<uint32_t, kPageSize>> pages_;
};

const ClassTable& Classes() {
  static const ClassTable table;
  return table;
}

template <size_t n>
const Mapping* FindMapping(const Mapping (&table)[n], char32_t c) {
  const Mapping* found = std::lower_bound(
      table, table + n, c, [](const Mapping& m, char32_t x) { return m.code_point < x; });
  return found != table + n && found->code_point == c ? found : nullptr;
}

uint8_t CombiningClass(char32_t c) {
  if (c < kCombining[0].first) return 0;
  const CombiningRun* run =
      std::upper_bound(std::begin(kCombining), std::end(kCombining), c,
                       [](char32_t x, const CombiningRun& r) { return x < r.first; }) -
      1;
  return c <= run->last ? run->combining_class : 0;
}

// Hangul syllables are arithmetic: section 3.12 of the Unicode standard.
constexpr char32_t kS = 0xac00, kL = 0x1100, kV = 0x1161, kT = 0x11a7;
constexpr char32_t kVCount = 21, kTCount = 28, kLCount = 19;
constexpr char32_t kSCount = kLCount * kVCount * kTCount;

void Decompose(char32_t c, bool compatible, std::u32string& out) {
  if (c < 0x80) {
    out.push_back(c);
    return;
  }
  if (c >= kS && c < kS + kSCount) {
    const char32_t index = c - kS;
    out.push_back(kL + index / (kVCount * kTCount));
    out.push_back(kV + index % (kVCount * kTCount) / kTCount);
    if (index % kTCount != 0) out.push_back(kT + index % kTCount);
    return;
  }
  const Mapping* mapping = compatible ? FindMapping(kCompatible, c) : nullptr;
  if (mapping == nullptr) mapping = FindMapping(kCanonical, c);
  if (mapping == nullptr) {
    out.push_back(c);
  } else {
    out.append(kMappingPool + mapping->offset, mapping->length);
  }
}

// 0 when the pair does not compose.
char32_t Compose(char32_t a, char32_t b) {
  if (a >= kL && a < kL + kLCount && b >= kV && b < kV + kVCount) {
    return kS + ((a - kL) * kVCount + (b - kV)) * kTCount;
  }
  if (a >= kS && a < kS + kSCount && (a - kS) % kTCount == 0 && b > kT && b < kT + kTCount) {
    return a + (b - kT);
  }
  const Composition* found =
      std::lower_bound(std::begin(kCompositions), std::end(kCompositions), std::pair(a, b),
                       [](const Composition& c, const std::pair<char32_t, char32_t>& key) {
                         return c.first != key.first ? c.first < key.first : c.second < key.second;
                       });
  const bool hit = found != std::end(kCompositions) && found->first == a && found->second == b;
  return hit ? found->composed : 0;
}

// What both kinds of sequences, of code points and of such with their origins, have in common.
char32_t& Point(char32_t& c) { return c; }
char32_t& Point(NormalizedChar& c) { return c.code_point; }
void Absorb(char32_t&, const char32_t&) {}
void Absorb(NormalizedChar& into, const NormalizedChar& other) { into.change += other.change - 1; }

template <typename Text>
void SortMarks(Text& text) {
  using Char = typename Text::value_type;
  for (size_t i = 0; i < text.size();) {
    if (CombiningClass(Point(text[i])) == 0) {
      ++i;
      continue;
    }
    size_t end = i + 1;
    while (end < text.size() && CombiningClass(Point(text[end])) != 0) ++end;
    std::stable_sort(text.begin() + static_cast<std::ptrdiff_t>(i),
                     text.begin() + static_cast<std::ptrdiff_t>(end), [](Char a, Char b) {
                       return CombiningClass(Point(a)) < CombiningClass(Point(b));
                     });
    i = end;
  }
}

template <typename Text>
void ComposeAll(Text& text) {
  size_t out = 0;
  size_t starter = SIZE_MAX;
  int previous_class = -1;  // of what stands between the starter and here; -1: nothing
  for (auto c : text) {
    const int combining_class = CombiningClass(Point(c));
    if (starter != SIZE_MAX && previous_class < combining_class) {
      if (const char32_t composed = Compose(Point(text[starter]), Point(c)); composed != 0) {
        Point(text[starter]) = composed;
        Absorb(text[starter], c);
        continue;
      }
    }
    if (combining_class == 0) {
      starter = out;
      previous_class = -1;
    } else {
      previous_class = combining_class;
    }
    text[out++] = c;
  }
  text.erase(text.begin() + static_cast<std::ptrdiff_t>(out), text.end());
}

// Code points that composition may change or move. A text without them is in form NFC as it is.
class Unsettled {
 public:
  Unsettled() : bits_(kLimit, false) {
    for (const CombiningRun& run : kCombining) {
      for (char32_t c = run.first; c <= run.last; ++c) bits_[c] = true;
    }
    for (const Composition& c : kCompositions) bits_[c.second] = true;
    for (char32_t c = kV; c < kT + kTCount; ++c) bits_[c] = true;
    for (const Mapping& m : kCanonical) {
      std::u32string points;
      Decompose(m.code_point, false, points);
      ComposeAll(points);
      if (points.size() != 1 || points[0] != m.code_point) bits_[m.code_point] = true;
    }
  }
  bool Has(char32_t c) const { return bits_[c]; }

 private:
  std::vector<bool> bits_;
};

bool IsNfc(std::string_view text) {
  static const Unsettled unsettled;
  for (size_t i = 0; i < text.size();) {
    if (static_cast<unsigned char>(text[i]) < 0x80) {
      ++i;
      continue;
    }
    const Utf8Char c = DecodeUtf8(text.substr(i, 4));
    if (unsettled.Has(c.code_point)) return false;
    i += c.length;
  }
  return true;
}

bool IsAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

void NormalizeStretch(std::string_view text, NormalForm form, std::string& out) {
  const bool compatible = form == NormalForm::kNfkc || form == NormalForm::kNfkd;
  std::u32string points;
  points.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const Utf8Char c = DecodeUtf8(text.substr(i, 4));
    Decompose(c.code_point, compatible, points);
    i += c.length;
  }
  SortMarks(points);
  if (form == NormalForm::kNfc || form == NormalForm::kNfkc) ComposeAll(points);
  for (const char32_t c : points) AppendUtf8(out, c);
}

}  // namespace

uint32_t CodePointFlags(char32_t code_point) { return Classes().Flags(code_point); }

std::vector<std::pair<char32_t, char32_t>> RangesOfFlags(uint32_t flags) {
  std::vector<std::pair<char32_t, char32_t>> ranges;
  for (size_t i = 0; i < std::size(kClassRuns); ++i) {
    if ((kClassRuns[i].flags & flags) == 0) continue;
    const char32_t last = i + 1 < std::size(kClassRuns) ? kClassRuns[i + 1].first - 1 : kLimit - 1;
    if (!ranges.empty() && ranges.back().second + 1 == kClassRuns[i].first) {
      ranges.back().second = last;
    } else {
      ranges.emplace_back(kClassRuns[i].first, last);
    }
  }
  return ranges;
}

std::string Normalize(std::string_view text, NormalForm form) {
  // Before a space or newline nothing reaches across: stretches that are in the form already are
  // copied.
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const std::string_view stretch = text.substr(0, text.find_first_of(" \n", 1));
    text.remove_prefix(stretch.size());
    if (IsAscii(stretch) || (form == NormalForm::kNfc && IsNfc(stretch))) {
      out.append(stretch);
    } else {
      NormalizeStretch(stretch, form, out);
    }
  }
  return out;
}

std::vector<NormalizedChar> NormalizeWithChanges(std::string_view text, NormalForm form) {
  const bool compatible = form == NormalForm::kNfkc || form == NormalForm::kNfkd;
  std::vector<NormalizedChar> out;
  std::u32string parts;
  for (size_t i = 0; i < text.size();) {
    const Utf8Char c = DecodeUtf8(text.substr(i, 4));
    parts.clear();
    Decompose(c.code_point, compatible, parts);
    for (size_t k = 0; k < parts.size(); ++k) out.push_back({parts[k], k == 0 ? 0 : 1});
    i += c.length;
  }
  SortMarks(out);
  if (form == NormalForm::kNfc || form == NormalForm::kNfkc) ComposeAll(out);
  return out;
}

void AppendLowercase(std::string& out, char32_t code_point) {
  if (code_point < 0x80) {
    out.push_back(
        static_cast<char>(code_point >= 'A' && code_point <= 'Z' ? code_point + 32 : code_point));
    return;
  }
  const Mapping* mapping = FindMapping(kLowercase, code_point);
  if (mapping == nullptr) {
    AppendUtf8(out, code_point);
    return;
  }
  for (uint32_t i = 0; i < mapping->length; ++i) {
    AppendUtf8(out, kMappingPool[mapping->offset + i]);
  }
}

}  // namespace smelt
