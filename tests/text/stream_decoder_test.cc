// Text handed out while it is generated equals the whole text, and never ends inside a character.
#include "lib/base/utf8.h"
#include "lib/text/vocabulary.h"
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

}  // namespace
}  // namespace smelt::testing
