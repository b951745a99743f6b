// tekken.json and tiktoken files whose numbers ask for more than the file can mean.
#include <algorithm>

#include "lib/base/status.h"
#include "lib/text/components/byte_level.h"
#include "lib/text/gguf/vocabulary_writer.h"
#include "lib/text/published/published_tokenizer.h"
#include "lib/text/published/readers.h"
#include "lib/text/spec/base64.h"
#include "tests/testing/testing.h"
#include "tests/text/cases.h"

namespace smelt {
namespace {

// One byte as base64.
std::string Byte(int b) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  return {kDigits[static_cast<size_t>(b >> 2)], kDigits[static_cast<size_t>(b & 3) << 4], '=', '='};
}

absl::Status OpenTekken(int64_t size, int64_t special, std::string_view entry = "") {
  std::string text = Cat(R"({"config":{"pattern":"a","default_vocab_size":)", size,
                         R"(,"default_num_special_tokens":)", special, R"(},"vocab":[)");
  for (int b = 0; b < 256; ++b)
    text += Cat(b > 0 ? "," : "", R"({"rank":)", b, R"(,"token_bytes":")", Byte(b), R"("})");
  TokenizerFolder folder;
  return ReadTekken(Cat(text, entry, "]}"), "tekken.json", folder).status();
}

TEST(RankedFiles, TekkenCountsAreBounded) {
  SMELT_EXPECT_OK(OpenTekken(256 + 40, 40));
  // Subtracting one from the other would overflow.
  EXPECT_FALSE(OpenTekken(INT64_MIN, INT64_MAX).ok());
  // 16 million made-up special tokens from a file of 10 kB.
  EXPECT_FALSE(OpenTekken(1 << 24, (1 << 24) - 256).ok());
  EXPECT_FALSE(OpenTekken(300, 40, R"(,{"rank":16000000,"token_bytes":"YWE="})").ok());
}

TEST(RankedFiles, TokensAreNotTooLongToSplit) {
  std::string ranks;
  for (int b = 0; b < 256; ++b) ranks += Cat(Byte(b), " ", b, "\n");
  std::string base64;
  for (int i = 0; i < 4000; ++i) base64 += "YWFh";
  TokenizerFolder folder;
  // Nobody knows these ranks, unless they are in Meta's layout.
  const absl::Status unknown = ReadTiktoken(ranks, "ranks", folder).status();
  EXPECT_EQ(CodeOf(unknown), ErrorCode::kUnsupported);
  EXPECT_NE(unknown.message().find("tokenizer.json"), absl::string_view::npos) << unknown;
  folder.model_config = *ParseJsonValue(R"({"vocab_size":512})", "params.json");
  SMELT_EXPECT_OK(ReadTiktoken(ranks, "ranks", folder).status());
  folder.model_config = *ParseJsonValue(R"({"vocab_size":513})", "params.json");
  EXPECT_FALSE(ReadTiktoken(ranks, "ranks", folder).ok());
  folder.model_config = *ParseJsonValue(R"({"vocab_size":512})", "params.json");
  EXPECT_FALSE(ReadTiktoken(Cat(ranks, base64, " 256\n"), "ranks", folder).ok());
  EXPECT_FALSE(OpenTekken(300, 40, Cat(R"(,{"rank":256,"token_bytes":")", base64, R"("})")).ok());
}

// So many special tokens as Llama 3's, which these ranks are not.
TEST(RankedFiles, KimisRanksAreRefusedByName) {
  std::string ranks;
  for (int b = 0; b < 256; ++b) ranks += Cat(Byte(b), " ", b, "\n");
  TokenizerFolder folder;
  folder.model_config =
      *ParseJsonValue(R"({"model_type":"kimi_k2","vocab_size":512})", "config.json");
  const absl::Status status = ReadTiktoken(ranks, "tiktoken.model", folder).status();
  EXPECT_EQ(CodeOf(status), ErrorCode::kUnsupported);
  EXPECT_NE(status.message().find("Kimi"), absl::string_view::npos) << status;
}

// A published vocabulary as tiktoken has it, rebuilt from the tokenizer.json that was made of it:
// the ids are those recorded, for texts without special tokens.
class KnownRanks : public ::testing::TestWithParam<std::pair<const char*, int32_t>> {};

TEST_P(KnownRanks, AreCutAsTheirOwnersDo) {
#ifdef SMELT_PUBLISHED_TOKENIZERS
  const auto [name, count] = GetParam();
  const std::string folder = Cat(SMELT_PUBLISHED_TOKENIZERS, "/", name);
  const std::string published = testing::ReadFile(folder + "/tokenizer.json");
  const auto json = ReadTokenizerJson(published, "tokenizer.json");
  SMELT_ASSERT_OK(json);
  std::string file;
  for (int32_t id = 0; id < count; ++id) {
    std::string bytes;
    ASSERT_TRUE(AppendBytesOfLevel(bytes, json->tokens.Text(id))) << id;
    file += Cat(EncodeBase64(bytes), " ", id, "\n");
  }
  const testing::TempDir dir;
  testing::WriteFile(dir / "vocabulary.tiktoken", file);
  const auto tokenizer = OpenPublishedTokenizer(dir.path());
  SMELT_ASSERT_OK(tokenizer);
  int compared = 0;
  for (const testing::TokenizerCase& item : testing::ReadCases(folder)) {
    if (std::any_of(item.ids.begin(), item.ids.end(),
                    [last = count](int32_t id) { return id >= last; }))
      continue;
    const auto ids =
        (*tokenizer)->Encode(item.text, {.add_special = false, .parse_special = false});
    SMELT_ASSERT_OK(ids);
    ASSERT_EQ(*ids, item.ids) << Escape(item.text);
    ++compared;
  }
  EXPECT_GT(compared, 300);
  Metadata metadata;
  std::vector<std::string> notes;
  SMELT_EXPECT_OK(WriteVocabulary(**tokenizer, {}, metadata, notes));
#else
  GTEST_SKIP() << "SKIPPED: the shared folder and zstd are needed";
#endif
}

INSTANTIATE_TEST_SUITE_P(All, KnownRanks,
                         ::testing::Values(std::pair("llama3.1", 128000),
                                           std::pair("qwen3", 151643),
                                           std::pair("gpt-4o", 199998)));

}  // namespace
}  // namespace smelt
