// A vocabulary alone, from tokenizer files alone.
#include "smelt/vocabulary.h"

#include <filesystem>

#include "formats/gguf.h"
#include "lib/base/status.h"
#include "smelt/tokenize.h"
#include "tests/testing/testing.h"
#include "tests/text/cases.h"

namespace smelt::testing {
namespace {

void ExpectRecordedIds(const std::string& gguf, const std::string& folder) {
  const auto tokenizer = TextTokenizer::Open(gguf);
  SMELT_ASSERT_OK(tokenizer);
  for (const TokenizerCase& item : ReadCases(folder)) {
    const auto ids = tokenizer->Encode(item.text, {.add_special = false, .parse_special = true});
    SMELT_ASSERT_OK(ids);
    EXPECT_EQ(*ids, item.ids) << Escape(item.text);
  }
}

TEST(VocabularyAlone, FromAFolderOrAFile) {
  const TempDir dir;
  const std::string folder = TestdataPath("tokenizers-small/bl-nfc-split");
  for (const std::string& source : {folder, folder + "/tokenizer.json"}) {
    VocabularyRequest request;
    request.source = source;
    request.output = dir.path() + "/v.gguf";
    request.force = true;
    const auto result = ConvertVocabulary(request);
    SMELT_ASSERT_OK(result);
    EXPECT_EQ(result->tokenizer, "gpt2");
    EXPECT_EQ(result->bytes, std::filesystem::file_size(result->output));
    const auto file = OpenGguf(result->output);
    SMELT_ASSERT_OK(file);
    EXPECT_TRUE(file->tensors.empty());
    EXPECT_EQ(*file->metadata.StringOr("general.architecture", ""), "llama");
    EXPECT_EQ(file->metadata.Find("tokenizer.ggml.tokens")->size(), result->tokens);
    ExpectRecordedIds(result->output, folder);
    // The same once more, from the GGUF.
    request.source = result->output;
    request.output = dir.path() + "/again.gguf";
    SMELT_ASSERT_OK(ConvertVocabulary(request));
    ExpectRecordedIds(request.output, folder);
  }
}

TEST(VocabularyAlone, RefusesWhatHasNoFormAndWritesNothing) {
  const TempDir dir;
  VocabularyRequest request;
  request.source = TestdataPath("tokenizers-small/wordlevel-nfkd");
  request.output = dir.path() + "/v.gguf";
  EXPECT_EQ(CodeOf(ConvertVocabulary(request).status()), ErrorCode::kUnsupported);
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

TEST(VocabularyAlone, NeverOverItsInput) {
  const TempDir dir;
  const std::string file = dir.path() + "/tokenizer.json";
  std::filesystem::copy_file(TestdataPath("tokenizers-small/bl-nfc-split/tokenizer.json"), file);
  VocabularyRequest request;
  request.output = file;
  request.force = true;
  for (const std::string& source : {file, dir.path()}) {
    request.source = source;
    EXPECT_EQ(CodeOf(ConvertVocabulary(request).status()), ErrorCode::kUsage);
  }
}

}  // namespace
}  // namespace smelt::testing
