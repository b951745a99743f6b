// SentencePiece's normalization and its way back to text, against SentencePiece itself.
#include "lib/text/components/spm_normalizer.h"

#include "lib/base/json.h"
#include "lib/text/components/spm_decoder.h"
#include "lib/text/published/base64.h"
#include "tests/testing/testing.h"
#include "tests/text/components/small_charsmap.h"

namespace smelt::testing {
namespace {

Charsmap SmallCharsmap() {
  const auto blob = DecodeBase64(kSmallCharsmap);
  EXPECT_TRUE(blob.ok()) << blob.status();
  auto map = Charsmap::Parse(*blob);
  EXPECT_TRUE(map.ok()) << map.status();
  return *std::move(map);
}

struct Golden {
  bool add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces;
  std::vector<std::pair<std::string_view, std::string_view>> cases;
};

// sentencepiece 0.2.3: SentencePieceNormalizer(model_file=..., add_dummy_prefix=...,
//     remove_extra_whitespaces=..., escape_whitespaces=...).normalize(TEXT)
const Golden kGolden[] = {
    {false,
     false,
     false,
     {{"", ""},
      {"abc ab abd", "y z x xd"},
      {"ababc", "xy z"},
      {"café cafe\314\201", "cafe cafE"},
      {"ﬁn\343\200\200\343\200\200x", "fin  x"},
      {"straße", "strae"},
      {"ß", ""},
      {"q aq", "   a  "},
      {" a  b ", " a  b "},
      {"  ", "  "},
      {"▁x", "▁x"},
      {"aqb", "a  b"},
      {"x\314\201\314\201", "x''"},
      {"\360\237\230\200e\314\201", "\360\237\230\200E"}}},
    {false,
     false,
     true,
     {{"", ""},
      {"abc ab abd", "y▁z▁x▁xd"},
      {"ababc", "xy▁z"},
      {"café cafe\314\201", "cafe▁cafE"},
      {"ﬁn\343\200\200\343\200\200x", "fin▁▁x"},
      {"straße", "strae"},
      {"ß", ""},
      {"q aq", "▁▁▁a▁▁"},
      {" a  b ", "▁a▁▁b▁"},
      {"  ", "▁▁"},
      {"▁x", "▁x"},
      {"aqb", "a▁▁b"},
      {"x\314\201\314\201", "x''"},
      {"\360\237\230\200e\314\201", "\360\237\230\200E"}}},
    {false,
     true,
     false,
     {{"", ""},
      {"abc ab abd", "y z x xd"},
      {"ababc", "xy z"},
      {"café cafe\314\201", "cafe cafE"},
      {"ﬁn\343\200\200\343\200\200x", "fin x"},
      {"straße", "strae"},
      {"ß", ""},
      {"q aq", "a"},
      {" a  b ", "a b"},
      {"  ", ""},
      {"▁x", "▁x"},
      {"aqb", "a  b"},
      {"x\314\201\314\201", "x''"},
      {"\360\237\230\200e\314\201", "\360\237\230\200E"}}},
    {false,
     true,
     true,
     {{"", ""},
      {"abc ab abd", "y▁z▁x▁xd"},
      {"ababc", "xy▁z"},
      {"café cafe\314\201", "cafe▁cafE"},
      {"ﬁn\343\200\200\343\200\200x", "fin▁x"},
      {"straße", "strae"},
      {"ß", ""},
      {"q aq", "a"},
      {" a  b ", "a▁b"},
      {"  ", ""},
      {"▁x", "▁x"},
      {"aqb", "a▁▁b"},
      {"x\314\201\314\201", "x''"},
      {"\360\237\230\200e\314\201", "\360\237\230\200E"}}},
    {true,
     false,
     false,
     {{"", ""},
      {"abc ab abd", " y z x xd"},
      {"ababc", " xy z"},
      {"café cafe\314\201", " cafe cafE"},
      {"ﬁn\343\200\200\343\200\200x", " fin  x"},
      {"straße", " strae"},
      {"ß", " "},
      {"q aq", "    a  "},
      {" a  b ", "  a  b "},
      {"  ", "   "},
      {"▁x", " ▁x"},
      {"aqb", " a  b"},
      {"x\314\201\314\201", " x''"},
      {"\360\237\230\200e\314\201", " \360\237\230\200E"}}},
    {true,
     false,
     true,
     {{"", ""},
      {"abc ab abd", "▁y▁z▁x▁xd"},
      {"ababc", "▁xy▁z"},
      {"café cafe\314\201", "▁cafe▁cafE"},
      {"ﬁn\343\200\200\343\200\200x", "▁fin▁▁x"},
      {"straße", "▁strae"},
      {"ß", "▁"},
      {"q aq", "▁▁▁▁a▁▁"},
      {" a  b ", "▁▁a▁▁b▁"},
      {"  ", "▁▁▁"},
      {"▁x", "▁▁x"},
      {"aqb", "▁a▁▁b"},
      {"x\314\201\314\201", "▁x''"},
      {"\360\237\230\200e\314\201", "▁\360\237\230\200E"}}},
    {true,
     true,
     false,
     {{"", ""},
      {"abc ab abd", " y z x xd"},
      {"ababc", " xy z"},
      {"café cafe\314\201", " cafe cafE"},
      {"ﬁn\343\200\200\343\200\200x", " fin x"},
      {"straße", " strae"},
      {"ß", ""},
      {"q aq", " a"},
      {" a  b ", " a b"},
      {"  ", ""},
      {"▁x", " ▁x"},
      {"aqb", " a  b"},
      {"x\314\201\314\201", " x''"},
      {"\360\237\230\200e\314\201", " \360\237\230\200E"}}},
    {true,
     true,
     true,
     {{"", ""},
      {"abc ab abd", "▁y▁z▁x▁xd"},
      {"ababc", "▁xy▁z"},
      {"café cafe\314\201", "▁cafe▁cafE"},
      {"ﬁn\343\200\200\343\200\200x", "▁fin▁x"},
      {"straße", "▁strae"},
      {"ß", ""},
      {"q aq", "▁a"},
      {" a  b ", "▁a▁b"},
      {"  ", ""},
      {"▁x", "▁▁x"},
      {"aqb", "▁a▁▁b"},
      {"x\314\201\314\201", "▁x''"},
      {"\360\237\230\200e\314\201", "▁\360\237\230\200E"}}},
};

TEST(SpmNormalizer, IsThatOfSentencePiece) {
  for (const Golden& golden : kGolden) {
    const SpmNormalizer normalizer{SmallCharsmap(), golden.add_dummy_prefix,
                                   golden.remove_extra_whitespaces, golden.escape_whitespaces,
                                   false};
    for (const auto& [text, normalized] : golden.cases) {
      EXPECT_EQ(normalizer.Apply(text, ByteTrie()), normalized)
          << JsonQuote(text) << " " << golden.add_dummy_prefix << golden.remove_extra_whitespaces
          << golden.escape_whitespaces;
    }
  }
}

TEST(SpmNormalizer, UserDefinedTextsPassUnchanged) {
  ByteTrie user_defined;
  user_defined.Insert("abc", 1);
  user_defined.Insert(" q ", 2);
  const SpmNormalizer normalizer{SmallCharsmap(), false, false, false, false};
  EXPECT_EQ(normalizer.Apply("abab abc q q", user_defined), "xx abc q   ");
}

TEST(SpmNormalizer, APrefixCanBeASuffixOrWithheld) {
  const SpmNormalizer suffix{Charsmap(), true, true, true, true};
  EXPECT_EQ(suffix.Apply(" a b ", ByteTrie()), "a\342\226\201b\342\226\201");
  const SpmNormalizer prefix{Charsmap(), true, true, true, false};
  EXPECT_EQ(prefix.Apply("a", ByteTrie(), false), "a");
}

struct Decoding {
  bool strips_blank, strips_all;
  std::vector<std::pair<std::vector<std::string>, std::string_view>> cases;
};

// sentencepiece 0.2.3: decode_pieces(PIECES) of models with byte pieces, trained with every
//     add_dummy_prefix and remove_extra_whitespaces
const Decoding kDecoding[] = {
    {true,
     true,
     {{{"▁hello", "▁world"}, "hello world"},
      {{"▁", "a"}, "a"},
      {{"▁▁a", "b"}, " ab"},
      {{"a", "▁b"}, "a b"},
      {{"▁", "▁", "a"}, "a"},
      {{"<0xE4>", "<0xBD>", "<0xA0>", "b"}, "你b"},
      {{"▁a", "<0xE4>", "<0xBD>", "b"}, "a��b"},
      {{"<0xFF>", "▁a"}, "� a"},
      {{"<unk>", "▁a"}, " ⁇  a"},
      {{"▁a", "<unk>", "b"}, "a ⁇ b"},
      {{"<0x20>", "▁a"}, "  a"},
      {{"<s>", "▁a", "</s>"}, "a"},
      {{}, ""},
      {{"▁"}, ""},
      {{"a▁", "▁"}, "a  "}}},
    {true,
     false,
     {{{"▁hello", "▁world"}, "hello world"},
      {{"▁", "a"}, "a"},
      {{"▁▁a", "b"}, " ab"},
      {{"a", "▁b"}, "a b"},
      {{"▁", "▁", "a"}, " a"},
      {{"<0xE4>", "<0xBD>", "<0xA0>", "b"}, "你b"},
      {{"▁a", "<0xE4>", "<0xBD>", "b"}, "a��b"},
      {{"<0xFF>", "▁a"}, "� a"},
      {{"<unk>", "▁a"}, " ⁇  a"},
      {{"▁a", "<unk>", "b"}, "a ⁇ b"},
      {{"<0x20>", "▁a"}, "  a"},
      {{"<s>", "▁a", "</s>"}, "a"},
      {{}, ""},
      {{"▁"}, ""},
      {{"a▁", "▁"}, "a  "}}},
    {true,
     true,
     {{{"▁hello", "▁world"}, "hello world"},
      {{"▁", "a"}, "a"},
      {{"▁▁a", "b"}, " ab"},
      {{"a", "▁b"}, "a b"},
      {{"▁", "▁", "a"}, "a"},
      {{"<0xE4>", "<0xBD>", "<0xA0>", "b"}, "你b"},
      {{"▁a", "<0xE4>", "<0xBD>", "b"}, "a��b"},
      {{"<0xFF>", "▁a"}, "� a"},
      {{"<unk>", "▁a"}, " ⁇  a"},
      {{"▁a", "<unk>", "b"}, "a ⁇ b"},
      {{"<0x20>", "▁a"}, "  a"},
      {{"<s>", "▁a", "</s>"}, "a"},
      {{}, ""},
      {{"▁"}, ""},
      {{"a▁", "▁"}, "a  "}}},
    {false,
     false,
     {{{"▁hello", "▁world"}, " hello world"},
      {{"▁", "a"}, " a"},
      {{"▁▁a", "b"}, "  ab"},
      {{"a", "▁b"}, "a b"},
      {{"▁", "▁", "a"}, "  a"},
      {{"<0xE4>", "<0xBD>", "<0xA0>", "b"}, "你b"},
      {{"▁a", "<0xE4>", "<0xBD>", "b"}, " a��b"},
      {{"<0xFF>", "▁a"}, "� a"},
      {{"<unk>", "▁a"}, " ⁇  a"},
      {{"▁a", "<unk>", "b"}, " a ⁇ b"},
      {{"<0x20>", "▁a"}, "  a"},
      {{"<s>", "▁a", "</s>"}, " a"},
      {{}, ""},
      {{"▁"}, " "},
      {{"a▁", "▁"}, "a  "}}},
};

TEST(SpmText, IsThatOfSentencePiece) {
  for (const Decoding& golden : kDecoding) {
    const SpmDecoding how{golden.strips_blank, golden.strips_all, " \342\201\207 ", Charsmap()};
    for (const auto& [pieces, expected] : golden.cases) {
      SpmText text(how);
      for (const std::string& piece : pieces) {
        if (piece.starts_with("<0x")) {
          text.Byte(static_cast<char>(std::stoi(piece.substr(3, 2), nullptr, 16)));
        } else if (piece == "<unk>") {
          text.Unknown();
        } else if (piece != "<s>" && piece != "</s>") {
          text.Piece(piece);
        }
      }
      EXPECT_EQ(std::move(text).Finish(), expected) << ::testing::PrintToString(pieces);
    }
  }
}

TEST(SpmText, KeepsBrokenBytesWhereTheyAreWanted) {
  const SpmDecoding how;
  SpmText text(how, /*raw=*/true);
  text.Byte('\377');
  text.Piece("a");
  text.Byte('\303');
  EXPECT_EQ(std::move(text).Finish(), "\377a\303");
}

TEST(SpmText, WhatStandsBesideIsNoBeginning) {
  const SpmDecoding how;
  SpmText text(how);
  text.Beside("<s>");
  text.Piece("\342\226\201a");
  text.Beside("<t>");
  text.Piece("\342\226\201b");
  EXPECT_EQ(std::move(text).Finish(), "<s>a<t> b");
}

TEST(SpmText, TheDenormalizersRulesComeLast) {
  const SpmDecoding how{true, true, "", SmallCharsmap()};
  SpmText text(how);
  text.Piece("a");
  text.Piece("bc");
  EXPECT_EQ(std::move(text).Finish(), "y z");
}

}  // namespace
}  // namespace smelt::testing
