// Texts as Python counts them: by characters (code points), not bytes. All texts are valid UTF-8.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/utf8.h"

namespace smelt::jinja {

template <typename Function>
void ForEachCharacter(std::string_view text, const Function& function) {
  while (!text.empty()) {
    const size_t length = DecodeUtf8(text).length;
    function(text.substr(0, length));
    text.remove_prefix(length);
  }
}

size_t CountCharacters(std::string_view text);
/// Bytes before the character of this number; the whole size when there are fewer.
size_t OffsetOfCharacter(std::string_view text, size_t character);
/// Where `part` is in a text, the first or the last time; npos. In time linear in the text for the
/// first.
size_t FindText(std::string_view text, std::string_view part);
size_t FindTextFromRight(std::string_view text, std::string_view part);
/// Characters [begin, end).
std::string_view Substring(std::string_view text, int64_t begin, int64_t end);

/// str.isspace() of a character.
bool IsSpace(char32_t character);
/// What repr() shows as it is.
bool IsPrintable(char32_t character);
bool IsLower(char32_t character);
bool IsUpper(char32_t character);
bool IsAlpha(char32_t character);
bool IsDecimal(char32_t character);
bool IsNumeric(char32_t character);

std::string ToLower(std::string_view text);
std::string ToUpper(std::string_view text);

/// str.strip(): without the spaces, or without any of `set`, at the left and right.
std::string_view Strip(std::string_view text, bool left, bool right);
std::string_view Strip(std::string_view text, std::string_view set, bool left, bool right);

/// str.splitlines(), with or without what ends the lines.
std::vector<std::string_view> SplitLines(std::string_view text, bool keep_ends);

}  // namespace smelt::jinja
