// Small models with odd options and what the sentencepiece library makes of them
// (tests/peers/sentencepiece_models.py --golden).
#include <filesystem>
#include <set>

#include "lib/base/status.h"
#include "lib/base/storage.h"
#include "lib/base/utf8.h"
#include "lib/text/vocabulary.h"
#include "tests/testing/testing.h"
#include "tests/text/cases.h"

namespace smelt::testing {
namespace {

class SentencePieceModels : public ::testing::TestWithParam<std::string> {};

TEST_P(SentencePieceModels, AsTheLibrary) {
  const std::string folder = TestdataPath("sentencepiece/" + GetParam());
  const auto published = OpenPublishedTokenizer(folder);
  SMELT_ASSERT_OK(published);
  Metadata metadata;
  std::vector<std::string> notes;
  SMELT_ASSERT_OK((*published)->WriteVocabulary({}, metadata, notes));
  const auto written = GgufTokenizer(metadata);
  SMELT_ASSERT_OK(written);
  const auto lines = ReadTextFile(folder + "/cases.jsonl");
  SMELT_ASSERT_OK(lines);
  int seen = 0;
  for (std::string_view rest = *lines; !rest.empty();) {
    const auto item = ParseJsonValue(rest.substr(0, rest.find('\n')), "cases.jsonl");
    SMELT_ASSERT_OK(item);
    rest.remove_prefix(rest.find('\n') + 1);
    const std::vector<int32_t> ids = IntList(*item->Find("ids"));
    for (const Tokenizer* tokenizer :
         std::initializer_list<const Tokenizer*>{published->get(), written->get()}) {
      EXPECT_EQ(tokenizer->Decode(ids, {.show_special = false}),
                *item->Find("decoded")->as_string())
          << item->ToText();
      StreamDecoder stream(*tokenizer, {.show_special = false});
      std::string streamed;
      for (const int32_t id : ids) {
        streamed += stream.Push(id);
        EXPECT_TRUE(IsValidUtf8(streamed)) << item->ToText();
      }
      EXPECT_EQ(streamed + stream.Finish(), *item->Find("decoded")->as_string()) << item->ToText();
      if (item->Find("text")->is_null()) continue;
      const auto mine = tokenizer->Encode(*item->Find("text")->as_string(),
                                          {.add_special = false, .parse_special = false});
      SMELT_ASSERT_OK(mine);
      EXPECT_EQ(*mine, ids) << item->ToText();
    }
    ++seen;
  }
  EXPECT_GT(seen, 70);
}

INSTANTIATE_TEST_SUITE_P(Trained, SentencePieceModels,
                         ::testing::Values("ids_far", "symbols_bytes", "bytes_identity_spaces",
                                           "unk_surface_empty", "back", "deep"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace smelt::testing
