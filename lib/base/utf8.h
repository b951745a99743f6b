// UTF-8, decoded strictly: no overlong forms, no surrogates, nothing above U+10FFFF.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace smelt {

struct Utf8Char {
  char32_t code_point = 0xfffd;
  size_t length = 1;  ///< bytes taken; 1 for an invalid byte
  bool valid = false;
};

/// The first character of a text that is not empty.
Utf8Char DecodeUtf8(std::string_view text);
void AppendUtf8(std::string& out, char32_t code_point);
bool IsValidUtf8(std::string_view text);
/// Offset of the first invalid byte, or text.size().
size_t FirstInvalidUtf8(std::string_view text);

}  // namespace smelt
