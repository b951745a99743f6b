#include "lib/text/components/byte_level.h"

#include <array>
#include <cstdint>

#include "lib/base/utf8.h"

namespace smelt {
namespace {

struct Tables {
  std::array<std::string, 256> texts;
  std::array<int16_t, 512> bytes;
  Tables() {
    bytes.fill(-1);
    char32_t extra = 256;
    for (int b = 0; b < 256; ++b) {
      const bool printable = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
      const char32_t c = printable ? static_cast<char32_t>(b) : extra++;
      AppendUtf8(texts[static_cast<size_t>(b)], c);
      bytes[c] = static_cast<int16_t>(b);
    }
  }
};

const Tables& Get() {
  static const Tables tables;
  return tables;
}

}  // namespace

void AppendByteLevel(std::string& out, std::string_view bytes) {
  const Tables& tables = Get();
  for (const char c : bytes) out.append(tables.texts[static_cast<unsigned char>(c)]);
}

bool AppendBytesOfLevel(std::string& out, std::string_view text) {
  const Tables& tables = Get();
  const size_t before = out.size();
  for (size_t i = 0; i < text.size();) {
    const auto first = static_cast<unsigned char>(text[i]);
    const Utf8Char c = first < 0x80 ? Utf8Char{first, 1, true} : DecodeUtf8(text.substr(i, 4));
    const int byte = c.valid && c.code_point < 512 ? tables.bytes[c.code_point] : -1;
    if (byte < 0) {
      out.resize(before);
      return false;
    }
    out.push_back(static_cast<char>(byte));
    i += c.length;
  }
  return true;
}

}  // namespace smelt
