// Added tokens behind the embedding's last row, whichever file adds them.
#include <filesystem>

#include "lib/base/status.h"
#include "lib/text/gguf/vocabulary_writer.h"
#include "lib/text/published/published_tokenizer.h"
#include "tests/testing/testing.h"

namespace smelt::testing {
namespace {

using Ids = std::vector<int32_t>;

// A folder with a tokenizer of its own; <new> and <other> get the next ids.
struct Source {
  const char* file;  ///< of testdata
  const char* name;  ///< in the folder
  bool decoder;      ///< added_tokens_decoder instead of added_tokens.json
};
constexpr Source kSources[] = {
    {"tokenizers-small/bl-nfc-split/tokenizer.json", "tokenizer.json", false},
    {"tokenizers-small/bl-nfc-split/tokenizer.json", "tokenizer.json", true},
    {"sentencepiece/bytes_identity_spaces/tokenizer.model", "tokenizer.model", false},
    {"sentencepiece/bytes_identity_spaces/tokenizer.model", "tokenizer.model", true},
};

class RowlessTokens : public ::testing::TestWithParam<Source> {
 protected:
  RowlessTokens() {
    std::filesystem::copy_file(TestdataPath(GetParam().file),
                               Cat(dir_.path(), "/", GetParam().name));
    const auto plain = OpenPublishedTokenizer(dir_.path());
    EXPECT_TRUE(plain.ok()) << plain.status();
    size_ = (*plain)->size();
    without_ = *(*plain)->Encode(kText, {});
  }
  // `more`: further members of tokenizer_config.json.
  void Add(size_t first, size_t second, std::string_view more = R"("x":1)") {
    std::string config(more);
    const auto entry = [](size_t id, std::string_view text) {
      return Cat('"', id, R"(":{"content":")", text, R"(","normalized":false,"special":true})");
    };
    if (GetParam().decoder) {
      config += Cat(R"(,"added_tokens_decoder":{)", entry(first, "<new>"), ",",
                    entry(second, "<other>"), "}");
    } else {
      WriteFile(dir_.path() + "/added_tokens.json",
                Cat(R"({"<new>":)", first, R"(,"<other>":)", second, "}"));
    }
    WriteFile(dir_.path() + "/tokenizer_config.json", Cat("{", config, "}"));
  }
  absl::Status Open(uint64_t rows) {
    keys_ = {};
    notes_.clear();
    SMELT_ASSIGN_OR_RETURN(tokenizer_, OpenPublishedTokenizer(dir_.path(), rows));
    VocabularyOptions options;
    options.rows = rows;
    options.config_ids.padding = 1;
    return WriteVocabulary(*tokenizer_, options, keys_, notes_);
  }
  bool Noted(std::string_view text) const {
    for (const std::string& note : notes_) {
      if (note.find(text) != std::string::npos) return true;
    }
    return false;
  }

  static constexpr std::string_view kText = "a<new>b <other> c";
  TempDir dir_;
  size_t size_ = 0;
  Ids without_;
  std::unique_ptr<PublishedTokenizer> tokenizer_;
  Metadata keys_;
  std::vector<std::string> notes_;
};

TEST_P(RowlessTokens, AreLeftOutWithANote) {
  Add(size_, size_ + 1);
  SMELT_ASSERT_OK(Open(size_));
  EXPECT_EQ(*tokenizer_->Encode(kText, {}), without_);
  EXPECT_EQ(keys_.Find("tokenizer.ggml.tokens")->size(), size_);
  EXPECT_TRUE(Noted("<new>") && Noted("<other>") && Noted("left out"));
  // One of the two has a row.
  SMELT_ASSERT_OK(Open(size_ + 1));
  const Ids ids = *tokenizer_->Encode(kText, {});
  EXPECT_NE(std::find(ids.begin(), ids.end(), static_cast<int32_t>(size_)), ids.end());
  EXPECT_EQ(std::find(ids.begin(), ids.end(), static_cast<int32_t>(size_ + 1)), ids.end());
  EXPECT_TRUE(!Noted("<new>") && Noted("<other>"));
  // Both have.
  SMELT_ASSERT_OK(Open(size_ + 2));
  EXPECT_FALSE(Noted("left out"));
}

TEST_P(RowlessTokens, GoTogetherWithThePaddingKey) {
  Add(size_, size_ + 1, R"("pad_token":"<other>")");
  SMELT_ASSERT_OK(Open(size_));
  EXPECT_FALSE(keys_.Has("tokenizer.ggml.padding_token_id"));
  SMELT_ASSERT_OK(Open(size_ + 2));
  EXPECT_TRUE(keys_.Has("tokenizer.ggml.padding_token_id"));
}

TEST_P(RowlessTokens, ThatBeginOrEndTextsAreRefused) {
  for (const std::string_view kind : {"bos_token", "eos_token"}) {
    Add(size_, size_ + 1, Cat('"', kind, R"(":"<other>")"));
    const absl::Status status = Open(size_ + 1);
    EXPECT_EQ(CodeOf(status), ErrorCode::kInvalidInput);
    EXPECT_NE(status.message().find("<other>"), absl::string_view::npos) << status;
    EXPECT_NE(std::string(status.message()).find(kind), std::string::npos) << status;
    SMELT_EXPECT_OK(Open(size_ + 2));
  }
}

// transformers heeds the map only where tokenizer_config.json does not list added tokens; it says
// what the token is for in either case.
TEST_P(RowlessTokens, ThatBeginOrEndTextsByTheMapAreRefused) {
  for (const std::string_view kind : {"bos_token", "eos_token", "eot_token"}) {
    Add(size_, size_ + 1);
    WriteFile(dir_.path() + "/special_tokens_map.json",
              Cat(R"({")", kind, R"(":{"content":"<other>"}})"));
    const absl::Status status = Open(size_ + 1);
    EXPECT_EQ(CodeOf(status), ErrorCode::kInvalidInput);
    EXPECT_NE(status.message().find("<other>"), absl::string_view::npos) << status;
    EXPECT_NE(std::string(status.message()).find(kind), std::string::npos) << status;
    SMELT_EXPECT_OK(Open(size_ + 2));
  }
}

TEST_P(RowlessTokens, AreKnownByTheirIds) {
  Add(size_, size_ + 1);
  SMELT_ASSERT_OK(Open(size_ + 1));
  EXPECT_EQ(tokenizer_->RowlessPiece(static_cast<int64_t>(size_) + 1), "<other>");
  for (const int64_t id : {int64_t{-1}, int64_t{0}, static_cast<int64_t>(size_), int64_t{1} << 40})
    EXPECT_EQ(tokenizer_->RowlessPiece(id), "");
}

TEST_P(RowlessTokens, BehindAGapAreRefused) {
  Add(size_, size_ + 2);
  const absl::Status status = Open(size_ + 1);
  EXPECT_EQ(CodeOf(status), ErrorCode::kInvalidInput);
  EXPECT_NE(status.message().find("<other>"), absl::string_view::npos) << status;
}

TEST_P(RowlessTokens, AreNoneOfTheVocabularyItself) {
  Add(size_, size_ + 1);
  const absl::Status status = Open(size_ - 10);
  EXPECT_FALSE(status.ok());
  EXPECT_NE(status.message().find(Cat(size_ - 10, " rows")), absl::string_view::npos) << status;
}

INSTANTIATE_TEST_SUITE_P(Sources, RowlessTokens, ::testing::ValuesIn(kSources));

}  // namespace
}  // namespace smelt::testing
