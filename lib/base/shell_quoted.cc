// Names as words of a shell's command.
#include <cstdio>
#include <string>
#include <string_view>

#include "lib/base/cat.h"
#include "lib/base/utf8.h"
#include "smelt/text.h"

namespace smelt {
namespace {

/// Shown as something else, or not at all: not what a terminal may be given.
bool IsUnseen(std::string_view character) {
  return character != "\\" && Escape(character) != character;
}

}  // namespace

std::string ShellQuoted(std::string_view path) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+,=@%:/-";
  std::string name(path.starts_with('-') ? "./" : "");
  name += path;
  bool plain = !name.empty(), unseen = false;
  size_t bytes = 0;
  for (size_t i = 0; i < name.size(); i += bytes) {
    bytes = DecodeUtf8(std::string_view(name).substr(i)).length;
    plain = plain && (bytes > 1 || kPlain.find(name[i]) != std::string_view::npos);
    unseen = unseen || IsUnseen(std::string_view(name).substr(i, bytes));
  }
  if (plain && !unseen) return name;
  std::string out = unseen ? "$'" : "'";
  for (size_t i = 0; i < name.size(); i += bytes) {
    bytes = DecodeUtf8(std::string_view(name).substr(i)).length;
    const std::string_view character = std::string_view(name).substr(i, bytes);
    if (IsUnseen(character)) {
      for (const char c : character) {
        char hex[8];
        std::snprintf(hex, sizeof(hex), "\\x%02x", static_cast<unsigned char>(c));
        out += hex;
      }
    } else if (character == "'" || (unseen && character == "\\")) {
      out += unseen ? Cat("\\", character) : "'\\''";
    } else {
      out += character;
    }
  }
  return out + "'";
}

}  // namespace smelt
