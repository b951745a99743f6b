// Small models with odd options and what the sentencepiece library makes of them
// (tests/peers/sentencepiece_models.py --golden).
#include <filesystem>
#include <set>

#include "lib/base/status.h"
#include "lib/base/storage.h"
#include "lib/base/utf8.h"
#include "lib/text/gguf/vocabulary_writer.h"
#include "lib/text/published/published_tokenizer.h"
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
  SMELT_ASSERT_OK(WriteVocabulary(**published, {}, metadata, notes));
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

// As transformers and llama.cpp's converter take it; ids of the library for the model with its
// add_dummy_prefix changed.
TEST(SentencePieceFolder, AddPrefixSpaceOfTheConfigCounts) {
  const TempDir dir;
  std::filesystem::copy_file(TestdataPath("sentencepiece/bytes_identity_spaces/tokenizer.model"),
                             dir.path() + "/tokenizer.model");
  for (const bool prefix : {true, false}) {
    WriteFile(dir.path() + "/tokenizer_config.json",
              Cat(R"({"add_bos_token":false,"add_prefix_space":)", prefix ? "true}" : "false}"));
    const auto published = OpenPublishedTokenizer(dir.path());
    SMELT_ASSERT_OK(published);
    Metadata metadata;
    std::vector<std::string> notes;
    VocabularyOptions options;
    options.architecture = "llama";
    SMELT_ASSERT_OK(WriteVocabulary(**published, options, metadata, notes));
    const auto written = GgufTokenizer(metadata);
    SMELT_ASSERT_OK(written);
    const std::vector<int32_t> ids =
        prefix ? std::vector<int32_t>{260, 272, 259} : std::vector<int32_t>{281, 272, 259};
    EXPECT_EQ(*(*published)->Encode("the a", {}), ids);
    EXPECT_EQ(*(*written)->Encode("the a", {}), ids);
    EXPECT_EQ(*metadata.BoolOr("tokenizer.ggml.add_space_prefix", true), prefix);
  }
}

}  // namespace
}  // namespace smelt::testing
