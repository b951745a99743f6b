#include "lib/base/cat.h"

#include <charconv>

#include "lib/base/utf8.h"

namespace smelt {
namespace internal {

void AppendTo(std::string& out, std::string_view part) { out.append(part); }

template <typename T>
static void AppendNumber(std::string& out, T value) {
  char buffer[32];
  const auto result = std::to_chars(buffer, buffer + sizeof(buffer), value);
  out.append(buffer, result.ptr);
}

void AppendTo(std::string& out, int64_t value) { AppendNumber(out, value); }
void AppendTo(std::string& out, uint64_t value) { AppendNumber(out, value); }
void AppendTo(std::string& out, double value) { AppendNumber(out, value); }

}  // namespace internal

namespace {

void AppendHex(std::string& out, uint32_t value, int digits) {
  static constexpr char kDigits[] = "0123456789abcdef";
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4)
    out.push_back(kDigits[(value >> shift) & 15]);
}

// Characters that change how the text around them is shown: controls, bidirectional marks,
// invisible separators.
bool IsUnsafe(char32_t c) {
  return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0xad || c == 0x61c ||
         (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
         (c >= 0x2060 && c <= 0x206f) || c == 0xfeff || (c >= 0xfff9 && c <= 0xfffb) ||
         (c >= 0xe0000 && c <= 0xe0fff);
}

void AppendEscaped(std::string& out, char32_t c) {
  switch (c) {
    case '\n':
      out += "\\n";
      return;
    case '\t':
      out += "\\t";
      return;
    case '\r':
      out += "\\r";
      return;
    case '\\':
      out += "\\\\";
      return;
    default:
      break;
  }
  if (c < 0x100) {
    out += "\\x";
    AppendHex(out, c, 2);
  } else if (c < 0x10000) {
    out += "\\u";
    AppendHex(out, c, 4);
  } else {
    out += "\\U";
    AppendHex(out, c, 8);
  }
}

}  // namespace

std::string Escape(std::string_view text, size_t limit) {
  // What the middle holds is cut anyway: never escape a megabyte for the sake of a hundred bytes.
  std::string shortened;
  if (text.size() > 8 * limit) {
    shortened = Cat(text.substr(0, 4 * limit), text.substr(text.size() - 4 * limit));
    text = shortened;
  }
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const Utf8Char c = DecodeUtf8(text.substr(i));
    if (!c.valid) {
      out += "\\x";
      AppendHex(out, static_cast<uint8_t>(text[i]), 2);
    } else if (IsUnsafe(c.code_point) || c.code_point == '\\') {
      AppendEscaped(out, c.code_point);
    } else {
      out.append(text.substr(i, c.length));
    }
    i += c.length;
  }
  if (out.size() <= limit) return out;
  const auto continues = [&](size_t i) { return (static_cast<uint8_t>(out[i]) & 0xc0) == 0x80; };
  size_t head = limit / 2;
  while (head > 0 && continues(head)) --head;
  size_t tail = out.size() - limit / 2;
  while (tail < out.size() && continues(tail)) ++tail;
  return Cat(out.substr(0, head), "...", out.substr(tail));
}

}  // namespace smelt
