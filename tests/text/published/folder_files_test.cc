// Which of a folder's files counts where several say something. Expected ids and templates are what
// transformers 5.24 gives for the same folders (AutoTokenizer, class PreTrainedTokenizerFast).
#include <filesystem>

#include "lib/base/status.h"
#include "lib/text/gguf/vocabulary_writer.h"
#include "lib/text/published/published_tokenizer.h"
#include "tests/testing/testing.h"
#include "tests/text/cases.h"

namespace smelt::testing {
namespace {

using Ids = std::vector<int32_t>;

// A tokenizer.json of 436 tokens, and what a test puts beside it.
class FolderFiles : public ::testing::Test {
 protected:
  FolderFiles() {
    std::filesystem::copy_file(TestdataPath("tokenizers-small/bl-nfc-split/tokenizer.json"),
                               dir_.path() + "/tokenizer.json");
  }
  void Put(std::string_view name, std::string_view text) {
    const std::string path = Cat(dir_.path(), "/", name);
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    WriteFile(path, text);
  }
  // Of a token that is added as <new>.
  static std::string Token(std::string_view text, bool special, std::string_view more = "") {
    return Cat(R"({"content":")", text, R"(","lstrip":false,"rstrip":false,"normalized":false,)",
               more, R"("single_word":false,"special":)", special ? "true" : "false", "}");
  }
  Ids Encode(std::string_view text) {
    const auto tokenizer = OpenPublishedTokenizer(dir_.path());
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
    return tokenizer.ok() ? *(*tokenizer)->Encode(text, {}) : Ids();
  }
  Metadata Keys() {
    Metadata metadata;
    std::vector<std::string> notes;
    const auto tokenizer = OpenPublishedTokenizer(dir_.path());
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
    if (!tokenizer.ok()) return metadata;
    EXPECT_TRUE(WriteVocabulary(**tokenizer, {}, metadata, notes).ok());
    return metadata;
  }
  std::string Key(const std::string& key) { return *Keys().StringOr(key, "none"); }
  uint64_t Id(const std::string& key) { return *Keys().UintOr(key, 999); }

  TempDir dir_;
};

constexpr std::string_view kTextOfAll = "a<new>b <other> c";

TEST_F(FolderFiles, TokensThatTokenizerJsonLacks) {
  EXPECT_EQ(Encode(kTextOfAll), (Ids{64, 27, 77, 68, 86, 29, 65, 343, 294, 257, 81, 29, 279}));
  Put("added_tokens.json", R"({"<new>":436,"<other>":437})");
  EXPECT_EQ(Encode(kTextOfAll), (Ids{64, 436, 65, 220, 437, 279}));
  // Where tokenizer_config.json lists them, added_tokens.json does not count.
  Put("tokenizer_config.json",
      Cat(R"({"added_tokens_decoder":{"436":)", Token("<new>", true), "}}"));
  EXPECT_EQ(Encode(kTextOfAll), (Ids{64, 436, 65, 343, 294, 257, 81, 29, 279}));
}

TEST_F(FolderFiles, AnIdThatIsNotTheNextIsRefused) {
  Put("tokenizer_config.json",
      Cat(R"({"added_tokens_decoder":{"441":)", Token("<new>", true), "}}"));
  const auto tokenizer = OpenPublishedTokenizer(dir_.path());
  ASSERT_FALSE(tokenizer.ok());
  EXPECT_NE(tokenizer.status().message().find("\"<new>\""), absl::string_view::npos);
}

TEST_F(FolderFiles, FlagsOfTokenizerConfigComeFirst) {
  Put("tokenizer_config.json",
      R"({"added_tokens_decoder":{"430":{"content":"<|endoftext|>","lstrip":true,"rstrip":true,)"
      R"("normalized":false,"single_word":false,"special":true}}})");
  EXPECT_EQ(Encode("a c <|endoftext|> d"), (Ids{64, 279, 430, 67}));
}

TEST_F(FolderFiles, ANamedTokenIsSpecial) {
  Put("tokenizer_config.json", R"({"bos_token":"e"})");
  EXPECT_EQ(Encode("new other"), (Ids{77, 68, 86, 220, 294, 71, 68, 81}));
}

// Where the model is known to have no row for them, they are left out.
TEST_F(FolderFiles, NamedTokensThatNobodyHasAreAdded) {
  constexpr std::string_view kNamed = "c[PAD]<x> <y>";
  const Ids plain = {66, 58, 47, 32, 35, 60, 27, 87, 29, 343, 88, 29};
  EXPECT_EQ(Encode(kNamed), plain);
  const auto with = [&](std::string_view config) {
    Put("tokenizer_config.json", config);
    return Encode(kNamed);
  };
  EXPECT_EQ(with(R"({"pad_token":"[PAD]"})"), (Ids{66, 436, 27, 87, 29, 343, 88, 29}));
  EXPECT_EQ(with(R"({"pad_token":"[PAD]","additional_special_tokens":["<x>",)"
                 R"({"__type":"AddedToken","content":"<y>","lstrip":true}]})"),
            (Ids{66, 436, 437, 438}));
  EXPECT_EQ(with(R"({"pad_token":"[PAD]","extra_special_tokens":{"image_token":"<x>"},)"
                 R"("mask_token":"<y>"})"),
            (Ids{66, 436, 438, 220, 437}));
  EXPECT_EQ(
      with(Cat(R"({"pad_token":"[PAD]","added_tokens_decoder":{"436":)", Token("<x>", true), "}}")),
      (Ids{66, 437, 436, 343, 88, 29}));
  Put("tokenizer_config.json", R"({"pad_token":"[PAD]"})");
  const auto tokenizer = OpenPublishedTokenizer(dir_.path(), 436);
  SMELT_ASSERT_OK(tokenizer);
  EXPECT_EQ(*(*tokenizer)->Encode(kNamed, {}), plain);
  Metadata metadata;
  std::vector<std::string> notes;
  VocabularyOptions options;
  options.rows = 436;
  SMELT_ASSERT_OK(WriteVocabulary(**tokenizer, options, metadata, notes));
  ASSERT_FALSE(notes.empty());
  EXPECT_NE(notes[0].find("\"[PAD]\""), std::string::npos) << notes[0];
  EXPECT_FALSE(metadata.Has("tokenizer.ggml.padding_token_id"));
}

TEST(SentencePieceFolder, NamedTokensThatNobodyHasAreAdded) {
  SMELT_REQUIRE_SHARED();
  const TempDir dir;
  std::filesystem::copy_file(SharedPath("fixtures/models/llama-spm/tokenizer.model"),
                             dir / "tokenizer.model");
  const auto encode = [&](std::string_view config) {
    WriteFile(dir / "tokenizer_config.json", config);
    const auto tokenizer = OpenPublishedTokenizer(dir.path());
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
    EncodeOptions options;
    options.add_special = false;
    return *(*tokenizer)->Encode("the [PAD]<x> <y> a", options);
  };
  EXPECT_EQ(encode(R"({"legacy":false})"),
            (Ids{268, 568, 626, 605, 608, 623, 625, 643, 604, 642, 568, 643, 584, 642, 262}));
  EXPECT_EQ(encode(R"({"legacy":false,"pad_token":"[PAD]"})"),
            (Ids{268, 568, 656, 643, 604, 642, 568, 643, 584, 642, 262}));
  EXPECT_EQ(encode(R"({"legacy":false,"pad_token":"[PAD]","additional_special_tokens":["<x>",)"
                   R"({"__type":"AddedToken","content":"<y>","lstrip":true}]})"),
            (Ids{268, 568, 656, 657, 658, 262}));
}

// The library numbers new tokens itself, whatever ids stand there.
TEST_F(FolderFiles, AGapBeforeAnAddedTokenIsRefused) {
  std::string text = ReadFile(dir_.path() + "/tokenizer.json");
  const std::string id = "\"id\":435";
  ASSERT_NE(text.find(id), std::string::npos);
  text.replace(text.find(id), id.size(), "\"id\":440");
  Put("tokenizer.json", text);
  const auto tokenizer = OpenPublishedTokenizer(dir_.path());
  ASSERT_FALSE(tokenizer.ok());
  EXPECT_NE(tokenizer.status().message().find("\"<think>\" has id 440"), absl::string_view::npos)
      << tokenizer.status();
}

TEST_F(FolderFiles, AVersionLineAmongTheMergesIsNone) {
  const Ids want = {83, 257, 220, 294, 257, 81};
  EXPECT_EQ(Encode("the other"), want);
  std::string text = ReadFile(dir_.path() + "/tokenizer.json");
  std::string merges = "[\"#version: 0.2\"";
  const JsonValue json = ReadJson(dir_.path() + "/tokenizer.json");
  for (const JsonValue& pair : *json.Find("model")->Find("merges")->as_array()) {
    const JsonValue::Array& parts = *pair.as_array();
    merges += Cat(",", JsonQuote(Cat(*parts[0].as_string(), " ", *parts[1].as_string())));
  }
  const size_t list = text.find("[[", text.find("\"merges\""));
  ASSERT_NE(list, std::string::npos);
  text.replace(list, text.find("]]", list) + 2 - list, merges + "]");
  Put("tokenizer.json", text);
  EXPECT_EQ(Encode("the other"), want);
}

TEST_F(FolderFiles, SpecialTokensMapCountsUnlessTheConfigListsAddedTokens) {
  Put("special_tokens_map.json", R"({"bos_token":"<|endoftext|>","eos_token":null})");
  Put("tokenizer_config.json", R"({"bos_token":"e","eos_token":"t"})");
  EXPECT_EQ(Id("tokenizer.ggml.bos_token_id"), 430u);
  EXPECT_EQ(Id("tokenizer.ggml.eos_token_id"), 999u);
  Put("tokenizer_config.json", R"({"bos_token":"e","eos_token":"t","added_tokens_decoder":{}})");
  EXPECT_EQ(Id("tokenizer.ggml.bos_token_id"), 68u);
  EXPECT_EQ(Id("tokenizer.ggml.eos_token_id"), 83u);
}

TEST(TokenizerFiles, EveryNameThatIsReadSaysThatAFolderHasATokenizer) {
  for (const std::string_view name :
       {"tokenizer.json", "tekken.json", "tokenizer.model", "spiece.model", "tokenizer.model.v3",
        "tiktoken.model", "vocab.json", "qwen.tiktoken"}) {
    const TempDir dir;
    EXPECT_FALSE(HasTokenizerFiles(dir.path()));
    WriteFile(Cat(dir.path(), "/", name), "{}");
    EXPECT_TRUE(HasTokenizerFiles(dir.path())) << name;
    if (name == "vocab.json") WriteFile(Cat(dir.path(), "/merges.txt"), "");
    const auto opened = OpenPublishedTokenizer(dir.path());
    EXPECT_NE(CodeOf(opened.status()), ErrorCode::kNotFound) << name << opened.status();
  }
}

TEST_F(FolderFiles, TemplatesInFilesCountInsteadOfTheConfigs) {
  Put("tokenizer_config.json",
      R"({"chat_template":[{"name":"default","template":"c"},{"name":"rag","template":"r"}]})");
  Put("chat_template.json", R"({"chat_template":"json"})");
  EXPECT_EQ(Key("tokenizer.chat_template"), "c");
  EXPECT_EQ(Key("tokenizer.chat_template.rag"), "r");
  Put("additional_chat_templates/tool_use.jinja", "tool");
  EXPECT_EQ(Key("tokenizer.chat_template"), "none");
  EXPECT_EQ(Key("tokenizer.chat_template.tool_use"), "tool");
  Put("chat_template.jinja", "file");
  EXPECT_EQ(Key("tokenizer.chat_template"), "file");
  EXPECT_EQ(Key("tokenizer.chat_template.rag"), "none");
}

// A tokenizer.model of its own, with what a test puts beside it.
class SentencePieceSideFiles : public FolderFiles {
 protected:
  SentencePieceSideFiles() {
    std::filesystem::remove(dir_.path() + "/tokenizer.json");
    std::filesystem::copy_file(TestdataPath("sentencepiece/bytes_identity_spaces/tokenizer.model"),
                               dir_.path() + "/tokenizer.model");
  }
};

TEST_F(SentencePieceSideFiles, LegacyDecidesOnBlanksAfterSpecialTokens) {
  const auto config = [&](bool legacy) {
    Put("tokenizer_config.json",
        Cat(R"({"tokenizer_class":"LlamaTokenizer","add_bos_token":false,)", R"("legacy":)",
            legacy ? "true" : "false", "}"));
  };
  config(true);
  EXPECT_EQ(Encode("<s>a b</s>b"), (Ids{1, 259, 278, 296, 2, 278, 296}));
  config(false);
  const std::vector<std::pair<std::string, Ids>> cases = {
      {"a b", {259, 278, 296}},
      {"<s>a b</s>b", {1, 282, 278, 296, 2, 296}},
      {" a", {259}},
      {"x<s> a</s> b", {278, 123, 1, 259, 2, 278, 296}}};
  const auto written = GgufTokenizer(Keys());
  ASSERT_TRUE(written.ok()) << written.status();
  for (const auto& [text, ids] : cases) {
    EXPECT_EQ(Encode(text), ids) << text;
    EXPECT_EQ(*(*written)->Encode(text, {}), ids) << text;
  }
}

TEST_F(SentencePieceSideFiles, AnAddedTokenTakesNoPiecesPlace) {
  Put("added_tokens.json", R"({"<pad>":5})");
  const auto refused = OpenPublishedTokenizer(dir_.path());
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(std::string(refused.status().message()).find("has the id 5"), std::string::npos)
      << refused.status();
}

}  // namespace
}  // namespace smelt::testing
