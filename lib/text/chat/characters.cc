#include "lib/text/chat/characters.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstring>

#include "lib/text/chat/budget.h"

namespace smelt::jinja {
namespace {

utf8proc_category_t CategoryOf(char32_t character) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(character));
}

// The last character of a text that is not empty.
std::string_view LastCharacter(std::string_view text) {
  size_t begin = text.size() - 1;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xc0) == 0x80) --begin;
  return text.substr(begin);
}

template <typename Dropped>
std::string_view StripWhere(std::string_view text, bool left, bool right, const Dropped& dropped) {
  while (left && !text.empty()) {
    const std::string_view first = text.substr(0, DecodeUtf8(text).length);
    if (!dropped(first)) break;
    text.remove_prefix(first.size());
  }
  while (right && !text.empty()) {
    const std::string_view last = LastCharacter(text);
    if (!dropped(last)) break;
    text.remove_suffix(last.size());
  }
  return text;
}

}  // namespace

size_t FindText(std::string_view text, std::string_view part) {
  CurrentBudget::Step(1 + (text.size() + part.size()) / 64);
  if (part.empty()) return 0;
  if (text.empty()) return std::string_view::npos;
  const void* found = memmem(text.data(), text.size(), part.data(), part.size());
  return found == nullptr ? std::string_view::npos
                          : static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

size_t FindTextFromRight(std::string_view text, std::string_view part) {
  CurrentBudget::Step(1 + text.size() / 64);
  for (size_t end = text.size(); end >= part.size(); --end) {
    const std::string_view here = text.substr(end - part.size(), part.size());
    if (part.empty()) return end;
    if (here.back() == part.back()) {
      CurrentBudget::Step(1 + part.size() / 64);
      if (here == part) return end - part.size();
    }
  }
  return std::string_view::npos;
}

size_t CountCharacters(std::string_view text) {
  CurrentBudget::Step(text.size() / 64);
  return static_cast<size_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

size_t OffsetOfCharacter(std::string_view text, size_t character) {
  CurrentBudget::Step(std::min(character, text.size()) / 16);
  size_t offset = 0;
  for (; character > 0 && offset < text.size(); --character)
    offset += DecodeUtf8(text.substr(offset)).length;
  return offset;
}

std::string_view Substring(std::string_view text, int64_t begin, int64_t end) {
  if (end <= begin) return {};
  text.remove_prefix(OffsetOfCharacter(text, static_cast<size_t>(begin)));
  return text.substr(0, OffsetOfCharacter(text, static_cast<size_t>(end - begin)));
}

bool IsSpace(char32_t c) {
  return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
         c == 0x205f || c == 0x3000;
}

bool IsPrintable(char32_t c) {
  if (c == ' ') return true;
  switch (CategoryOf(c)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return false;
    default:
      return true;
  }
}

bool IsLower(char32_t c) { return utf8proc_islower(static_cast<utf8proc_int32_t>(c)) != 0; }
bool IsUpper(char32_t c) { return utf8proc_isupper(static_cast<utf8proc_int32_t>(c)) != 0; }

bool IsAlpha(char32_t c) {
  const utf8proc_category_t category = CategoryOf(c);
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

bool IsDecimal(char32_t c) { return CategoryOf(c) == UTF8PROC_CATEGORY_ND; }

bool IsNumeric(char32_t c) {
  const utf8proc_category_t category = CategoryOf(c);
  return category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO;
}

std::string ToLower(std::string_view text) {
  CurrentBudget::Step(text.size() / 4);
  std::string out;
  ForEachCharacter(text, [&](std::string_view character) {
    const char32_t c = DecodeUtf8(character).code_point;
    if (c == 0x130) {  // the one character whose lower case is two
      out += "i\u0307";
    } else {
      AppendUtf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
    }
  });
  return out;
}

std::string ToUpper(std::string_view text) {
  CurrentBudget::Step(text.size() / 4);
  std::string out;
  ForEachCharacter(text, [&](std::string_view character) {
    const char32_t c = DecodeUtf8(character).code_point;
    if (c == 0xdf) {
      out += "SS";
    } else {
      AppendUtf8(out, static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))));
    }
  });
  return out;
}

std::vector<std::string_view> SplitLines(std::string_view text, bool keep_ends) {
  const auto is_end = [](char32_t c) {
    return (c >= 0x0a && c <= 0x0d) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 ||
           c == 0x2029;
  };
  std::vector<std::string_view> lines;
  size_t end = 0;
  while (end < text.size()) {
    const Utf8Char c = DecodeUtf8(text.substr(end));
    if (!is_end(c.code_point)) {
      end += c.length;
      continue;
    }
    const bool pair = c.code_point == '\r' && end + 1 < text.size() && text[end + 1] == '\n';
    const size_t next = end + c.length + (pair ? 1 : 0);
    lines.push_back(text.substr(0, keep_ends ? next : end));
    text.remove_prefix(next);
    end = 0;
  }
  if (!text.empty()) lines.push_back(text);
  return lines;
}

std::string_view Strip(std::string_view text, bool left, bool right) {
  return StripWhere(text, left, right, [](std::string_view character) {
    return IsSpace(DecodeUtf8(character).code_point);
  });
}

std::string_view Strip(std::string_view text, std::string_view set, bool left, bool right) {
  return StripWhere(text, left, right, [set](std::string_view character) {
    CurrentBudget::Step(1 + set.size() / 64);
    return set.find(character) != std::string_view::npos;
  });
}

}  // namespace smelt::jinja
