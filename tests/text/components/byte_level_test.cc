// GPT-2's characters for bytes.
#include "lib/text/components/byte_level.h"

#include <set>

#include "lib/base/utf8.h"
#include "tests/testing/testing.h"

namespace smelt::testing {
namespace {

std::string CharacterOf(int byte) {
  std::string out;
  const char c = static_cast<char>(byte);
  AppendByteLevel(out, std::string_view(&c, 1));
  return out;
}

// transformers 5.24: models.gpt2.tokenization_gpt2.bytes_to_unicode()
TEST(ByteLevel, CharactersAreThoseOfGpt2) {
  const std::pair<int, std::string_view> kKnown[] = {
      {0x00, "Ā"}, {0x0a, "Ċ"}, {0x20, "Ġ"}, {0x21, "!"}, {0x7e, "~"}, {0x7f, "ġ"}, {0x80, "Ģ"},
      {0xa0, "ł"}, {0xa1, "¡"}, {0xac, "¬"}, {0xad, "Ń"}, {0xae, "®"}, {0xff, "ÿ"}};
  for (const auto& [byte, character] : kKnown) EXPECT_EQ(CharacterOf(byte), character) << byte;
}

TEST(ByteLevel, EveryByteHasOneCharacterAndComesBack) {
  std::set<std::string> characters;
  std::string all, text;
  for (int byte = 0; byte < 256; ++byte) {
    const std::string character = CharacterOf(byte);
    characters.insert(character);
    const Utf8Char c = DecodeUtf8(character);
    EXPECT_EQ(c.length, character.size());
    all.push_back(static_cast<char>(byte));
    text += character;
  }
  EXPECT_EQ(characters.size(), 256u);
  std::string back = "x";
  EXPECT_TRUE(AppendBytesOfLevel(back, text));
  EXPECT_EQ(back, "x" + all);
}

TEST(ByteLevel, OtherCharactersStandForNoByte) {
  std::string out = "x";
  for (const std::string_view text :
       {"a b", "ab\xe2\x96\x81", "a\xff", "\xc5\x84", "\xf0\x9f\x98\x80"}) {
    EXPECT_FALSE(AppendBytesOfLevel(out, text));
    EXPECT_EQ(out, "x");
  }
  EXPECT_TRUE(AppendBytesOfLevel(out, ""));
}

}  // namespace
}  // namespace smelt::testing
