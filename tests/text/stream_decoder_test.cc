// Text handed out while it is generated equals the whole text, and never ends inside a character.
#include "lib/base/utf8.h"
#include "lib/text/components/decoder.h"
#include "lib/text/published/published_tokenizer.h"
#include "tests/testing/testing.h"
#include "tests/text/cases.h"

namespace smelt::testing {
namespace {

TEST(StreamDecoder, PiecesMakeUpTheText) {
  for (const char* name : {"bl-nfc-split", "spm-legacy", "spm-metaspace-first", "wordpiece-bert",
                           "bl-prefix-roberta"}) {
    const std::string folder = TestdataPath("tokenizers-small/" + std::string(name));
    const auto tokenizer = OpenPublishedTokenizer(folder);
    SMELT_ASSERT_OK(tokenizer);
    for (const TokenizerCase& item : ReadCases(folder)) {
      StreamDecoder decoder(**tokenizer);
      std::string text;
      for (const int32_t id : item.ids) {
        const std::string fresh = decoder.Push(id);
        EXPECT_TRUE(IsValidUtf8(fresh));
        text += fresh;
      }
      text += decoder.Finish();
      EXPECT_EQ(text, item.decoded) << name;
    }
  }
}

TEST(StreamDecoder, LongTextsKeepTheirSpaces) {
  const auto tokenizer = OpenPublishedTokenizer(TestdataPath("tokenizers-small/spm-legacy"));
  SMELT_ASSERT_OK(tokenizer);
  std::string text;
  for (int i = 0; i < 400; ++i) text += "word and \xf0\x9f\x98\x80 more, ";
  const auto ids = (*tokenizer)->Encode(text, {.add_special = false});
  SMELT_ASSERT_OK(ids);
  StreamDecoder decoder(**tokenizer);
  std::string out;
  for (const int32_t id : *ids) out += decoder.Push(id);
  out += decoder.Finish();
  EXPECT_EQ(out, text);
}

/// Ids 0 to 255 are the bytes, 256 is a special token.
class Bytes : public Tokenizer {
 public:
  static constexpr int32_t kSpecial = 256;
  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text,
                                              const EncodeOptions&) const override {
    std::vector<int32_t> ids;
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  std::string Decode(const std::vector<int32_t>& ids, const DecodeOptions& options) const override {
    std::string bytes;
    for (const int32_t id : ids) {
      if (id != kSpecial) bytes.push_back(static_cast<char>(id));
      if (id == kSpecial && options.show_special) bytes += "<s>";
    }
    return RepairUtf8(bytes);
  }
  size_t size() const override { return 257; }
  std::string Piece(int32_t id) const override { return std::string(1, static_cast<char>(id)); }
  bool adds_bos() const override { return false; }
  int32_t bos() const override { return -1; }
  bool ends_generation(int32_t) const override { return false; }
};

/// What each id of `text` hands out, and then the rest.
std::vector<std::string> HandedOut(std::string_view text) {
  const Bytes tokenizer;
  StreamDecoder decoder(tokenizer);
  std::vector<std::string> out;
  for (const char c : text) out.push_back(decoder.Push(static_cast<unsigned char>(c)));
  out.push_back(decoder.Finish());
  return out;
}

using Parts = std::vector<std::string>;

TEST(StreamDecoder, ACharacterComesWhole) {
  EXPECT_EQ(HandedOut("a\303\251b"), (Parts{"a", "", "\303\251", "b", ""}));
  EXPECT_EQ(HandedOut("\360\237\230\200"), (Parts{"", "", "", "\360\237\230\200", ""}));
  EXPECT_EQ(HandedOut(""), (Parts{""}));
}

TEST(StreamDecoder, WhatIsCutOffAtTheEndIsShownAsBroken) {
  EXPECT_EQ(HandedOut("a\342\202"), (Parts{"a", "", "", "\357\277\275"}));
}

TEST(StreamDecoder, ABrokenByteIsShownOnceTextFollows) {
  EXPECT_EQ(HandedOut("\377a"), (Parts{"", "\357\277\275a", ""}));
  EXPECT_EQ(HandedOut("\303(\251)"), (Parts{"", "\357\277\275(", "", "\357\277\275)", ""}));
}

// U+FFFD that a model really writes looks like a character that is not all there.
TEST(StreamDecoder, AReplacementCharacterWaitsForWhatFollows) {
  EXPECT_EQ(HandedOut("\357\277\275x"), (Parts{"", "", "", "\357\277\275x", ""}));
  EXPECT_EQ(HandedOut("\357\277\275"), (Parts{"", "", "", "\357\277\275"}));
}

TEST(StreamDecoder, BrokenBytesAreNotHeldBackForEver) {
  const Parts parts = HandedOut(std::string(60, '\200'));
  std::string all;
  int silent = 0;
  for (const std::string& part : parts) {
    silent = part.empty() ? silent + 1 : 0;
    EXPECT_LE(silent, 16);
    all += part;
  }
  std::string expected;
  for (int i = 0; i < 60; ++i) expected += "\357\277\275";
  EXPECT_EQ(all, expected);
}

TEST(StreamDecoder, SpecialTokensAreHiddenWhereAsked) {
  const Bytes tokenizer;
  for (const bool show : {false, true}) {
    StreamDecoder decoder(tokenizer, {.show_special = show});
    EXPECT_EQ(decoder.Push('a'), "a");
    EXPECT_EQ(decoder.Push(Bytes::kSpecial), show ? "<s>" : "");
    EXPECT_EQ(decoder.Push('b'), "b");
    EXPECT_EQ(decoder.Finish(), "");
  }
}

// Texts of many windows: what is handed out is valid and makes up the text, and no part is longer
// than what one id can complete.
TEST(StreamDecoder, LongTextsComeCharacterByCharacter) {
  std::string text;
  for (int i = 0; i < 300; ++i)
    text += i % 3 == 0 ? "\360\237\230\200" : i % 3 == 1 ? "\303\251" : "x";
  std::string all;
  for (const std::string& part : HandedOut(text)) {
    EXPECT_TRUE(IsValidUtf8(part));
    EXPECT_LE(part.size(), 4u);
    all += part;
  }
  EXPECT_EQ(all, text);
}

}  // namespace
}  // namespace smelt::testing
