// SentencePiece's normalization and its way back to text, against SentencePiece itself.
#include "lib/text/components/sentencepiece_normalizer.h"

#include <array>

#include "lib/base/json.h"
#include "lib/text/components/sentencepiece_decoder.h"
#include "lib/text/spec/base64.h"
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

struct GoldenMap {
  std::string_view text;
  // add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces as bits, the last the lowest
  std::array<std::string_view, 8> normalized;
};

// sentencepiece 0.2.3: SentencePieceNormalizer(model_file=..., add_dummy_prefix=...,
//     remove_extra_whitespaces=..., escape_whitespaces=...).normalize(TEXT)
const GoldenMap kNormalizedByMap[] = {
    {"", {"", "", "", "", "", "", "", ""}},
    {"abc ab abd",
     {"y z x xd", "y▁z▁x▁xd", "y z x xd", "y▁z▁x▁xd", " y z x xd", "▁y▁z▁x▁xd", " y z x xd",
      "▁y▁z▁x▁xd"}},
    {"ababc", {"xy z", "xy▁z", "xy z", "xy▁z", " xy z", "▁xy▁z", " xy z", "▁xy▁z"}},
    {"café cafe\314\201",
     {"cafe cafE", "cafe▁cafE", "cafe cafE", "cafe▁cafE", " cafe cafE", "▁cafe▁cafE", " cafe cafE",
      "▁cafe▁cafE"}},
    {"ﬁn\343\200\200\343\200\200x",
     {"fin  x", "fin▁▁x", "fin x", "fin▁x", " fin  x", "▁fin▁▁x", " fin x", "▁fin▁x"}},
    {"straße", {"strae", "strae", "strae", "strae", " strae", "▁strae", " strae", "▁strae"}},
    {"ß", {"", "", "", "", " ", "▁", "", ""}},
    {"q aq", {"   a  ", "▁▁▁a▁▁", "a", "a", "    a  ", "▁▁▁▁a▁▁", " a", "▁a"}},
    {" a  b ", {" a  b ", "▁a▁▁b▁", "a b", "a▁b", "  a  b ", "▁▁a▁▁b▁", " a b", "▁a▁b"}},
    {"  ", {"  ", "▁▁", "", "", "   ", "▁▁▁", "", ""}},
    {"▁x", {"▁x", "▁x", "▁x", "▁x", " ▁x", "▁▁x", " ▁x", "▁▁x"}},
    {"aqb", {"a  b", "a▁▁b", "a  b", "a▁▁b", " a  b", "▁a▁▁b", " a  b", "▁a▁▁b"}},
    {"x\314\201\314\201", {"x''", "x''", "x''", "x''", " x''", "▁x''", " x''", "▁x''"}},
    {"\360\237\230\200e\314\201",
     {"\360\237\230\200E", "\360\237\230\200E", "\360\237\230\200E", "\360\237\230\200E",
      " \360\237\230\200E", "▁\360\237\230\200E", " \360\237\230\200E", "▁\360\237\230\200E"}}};

TEST(SentencePieceNormalizer, IsThatOfSentencePiece) {
  for (const GoldenMap& golden : kNormalizedByMap) {
    for (size_t bits = 0; bits < golden.normalized.size(); ++bits) {
      const SentencePieceNormalizer rules{.charsmap = "",
                                          .remove_extra_whitespaces = (bits & 2) != 0,
                                          .escape_whitespaces = (bits & 1) != 0};
      EXPECT_EQ(NormalizeAsSentencePiece(golden.text, rules, SmallCharsmap(), ByteTrie(),
                                         (bits & 4) != 0),
                golden.normalized[bits])
          << JsonQuote(golden.text) << " " << bits;
    }
  }
}

TEST(SentencePieceNormalizer, UserDefinedTextsPassUnchanged) {
  ByteTrie user_defined;
  user_defined.Insert("abc", 1);
  user_defined.Insert(" q ", 2);
  const SentencePieceNormalizer rules{
      .charsmap = "", .remove_extra_whitespaces = false, .escape_whitespaces = false};
  EXPECT_EQ(NormalizeAsSentencePiece("abab abc q q", rules, SmallCharsmap(), user_defined, false),
            "xx abc q   ");
}

TEST(SentencePieceNormalizer, APrefixCanBeASuffixOrWithheld) {
  SentencePieceNormalizer rules;
  EXPECT_EQ(NormalizeAsSentencePiece("a", rules, Charsmap(), ByteTrie(), false), "a");
  rules.whitespace_as_suffix = true;
  EXPECT_EQ(NormalizeAsSentencePiece(" a b ", rules, Charsmap(), ByteTrie(), true),
            "a\342\226\201b\342\226\201");
}

struct Decoding {
  std::vector<std::string> pieces;
  // where all spaces at the beginning go, where the first does, where none does
  std::array<std::string_view, 3> texts;
};

// sentencepiece 0.2.3: decode_pieces(PIECES) of models with byte pieces, trained with every
//     add_dummy_prefix and remove_extra_whitespaces
const Decoding kDecoding[] = {
    {{"▁hello", "▁world"}, {"hello world", "hello world", " hello world"}},
    {{"▁", "a"}, {"a", "a", " a"}},
    {{"▁▁a", "b"}, {" ab", " ab", "  ab"}},
    {{"a", "▁b"}, {"a b", "a b", "a b"}},
    {{"▁", "▁", "a"}, {"a", " a", "  a"}},
    {{"<0xE4>", "<0xBD>", "<0xA0>", "b"}, {"你b", "你b", "你b"}},
    {{"▁a", "<0xE4>", "<0xBD>", "b"}, {"a��b", "a��b", " a��b"}},
    {{"<0xFF>", "▁a"}, {"� a", "� a", "� a"}},
    {{"<unk>", "▁a"}, {" ⁇  a", " ⁇  a", " ⁇  a"}},
    {{"▁a", "<unk>", "b"}, {"a ⁇ b", "a ⁇ b", " a ⁇ b"}},
    {{"<0x20>", "▁a"}, {"  a", "  a", "  a"}},
    {{"<s>", "▁a", "</s>"}, {"a", "a", " a"}},
    {{}, {"", "", ""}},
    {{"▁"}, {"", "", " "}},
    {{"a▁", "▁"}, {"a  ", "a  ", "a  "}}};

TEST(SentencePieceText, IsThatOfSentencePiece) {
  for (const auto& [pieces, texts] : kDecoding) {
    for (size_t i = 0; i < texts.size(); ++i) {
      const SentencePieceDecoder how{.strips_space = i < 2, .strips_spaces = i < 1, .charsmap = ""};
      const Charsmap none;
      SentencePieceText text(how, none);
      for (const std::string& piece : pieces) {
        if (piece.starts_with("<0x")) {
          text.Byte(static_cast<char>(std::stoi(piece.substr(3, 2), nullptr, 16)));
        } else if (piece == "<unk>") {
          text.Unknown();
        } else if (piece != "<s>" && piece != "</s>") {
          text.Piece(piece);
        }
      }
      EXPECT_EQ(std::move(text).Finish(), texts[i]) << i << ::testing::PrintToString(pieces);
    }
  }
}

TEST(SentencePieceText, KeepsBrokenBytesWhereTheyAreWanted) {
  const SentencePieceDecoder how;
  const Charsmap none;
  SentencePieceText text(how, none, /*raw=*/true);
  text.Byte('\377');
  text.Piece("a");
  text.Byte('\303');
  EXPECT_EQ(std::move(text).Finish(), "\377a\303");
}

TEST(SentencePieceText, WhatStandsBesideIsNoBeginning) {
  const SentencePieceDecoder how;
  const Charsmap none;
  SentencePieceText text(how, none);
  text.Beside("<s>");
  text.Piece("\342\226\201a");
  text.Beside("<t>");
  text.Piece("\342\226\201b");
  EXPECT_EQ(std::move(text).Finish(), "<s>a<t> b");
}

TEST(SentencePieceText, TheDenormalizersRulesComeLast) {
  const SentencePieceDecoder how;
  const Charsmap charsmap = SmallCharsmap();
  SentencePieceText text(how, charsmap);
  text.Piece("a");
  text.Piece("bc");
  EXPECT_EQ(std::move(text).Finish(), "y z");
}

}  // namespace
}  // namespace smelt::testing
