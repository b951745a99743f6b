// Folders with vocab.json and merges.txt: which pipeline they mean, and which tokens they add.
// Expected ids are what transformers 5.24 gives for the same folders (AutoTokenizer).
#include "lib/base/json.h"
#include "lib/base/status.h"
#include "lib/text/published/published_tokenizer.h"
#include "tests/testing/testing.h"
#include "tests/text/cases.h"

namespace smelt::testing {
namespace {

using Ids = std::vector<int32_t>;

constexpr std::string_view kText = "a cc\xcc\x81 the<|endoftext|>12 c[PAD]<|padding|><x> <y>";

// The 430 tokens of a tokenizer.json as the two files.
class VocabAndMerges : public ::testing::Test {
 protected:
  VocabAndMerges() {
    const JsonValue json = ReadJson(TestdataPath("tokenizers-small/bl-nfc-split/tokenizer.json"));
    const JsonValue& model = *json.Find("model");
    WriteFile(dir_ / "vocab.json", model.Find("vocab")->ToText());
    std::string merges = "#version: 0.2\n";
    for (const JsonValue& merge : *model.Find("merges")->as_array()) {
      if (merge.is_string()) {
        merges += Cat(*merge.as_string(), "\n");
      } else {
        const JsonValue::Array& parts = *merge.as_array();
        merges += Cat(*parts[0].as_string(), " ", *parts[1].as_string(), "\n");
      }
    }
    WriteFile(dir_ / "merges.txt", merges);
  }
  Ids Encode(std::string_view tokenizer_config, std::string_view config = "{}") {
    WriteFile(dir_ / "tokenizer_config.json", tokenizer_config);
    WriteFile(dir_ / "config.json", config);
    const auto tokenizer = OpenPublishedTokenizer(dir_.path());
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
    return tokenizer.ok() ? *(*tokenizer)->Encode(kText, {}) : Ids();
  }
  void Refuses(std::string_view tokenizer_config, std::string_view config,
               const std::string& name) {
    WriteFile(dir_ / "tokenizer_config.json", tokenizer_config);
    WriteFile(dir_ / "config.json", config);
    const absl::Status status = OpenPublishedTokenizer(dir_.path()).status();
    EXPECT_EQ(CodeOf(status), ErrorCode::kUnsupported) << name;
    EXPECT_NE(status.message().find(name), absl::string_view::npos) << status;
    EXPECT_NE(status.message().find("tokenizer.json"), absl::string_view::npos) << status;
  }

  TempDir dir_;
};

const Ids kGpt2 = {64, 279, 66, 136, 223, 270, 430, 16, 17, 279, 58, 47,  32, 35, 60,
                   27, 91,  79, 335, 67,  317, 91,  29, 27, 87,  29, 343, 88, 29};
const Ids kQwen2 = {64, 279, 128, 229, 270, 430, 16, 17, 279, 58, 47, 32,  35, 60,
                    27, 91,  79,  335, 67,  317, 91, 29, 27,  87, 29, 343, 88, 29};
const Ids kNeoX = {64, 279, 128, 229, 270, 430, 16, 17,  279, 58, 47,
                   32, 35,  60,  431, 27,  87,  29, 343, 88,  29};

TEST_F(VocabAndMerges, EachKnownClassHasItsPipeline) {
  EXPECT_EQ(Encode("{}"), kGpt2);
  EXPECT_EQ(Encode(R"({"tokenizer_class":"GPT2TokenizerFast"})"), kGpt2);
  EXPECT_EQ(Encode(R"({"tokenizer_class":"Qwen2Tokenizer"})"), kQwen2);
  EXPECT_EQ(Encode(R"({"tokenizer_class":"GPTNeoXTokenizerFast"})"), kNeoX);
}

TEST_F(VocabAndMerges, WithoutAClassTheModelTypeSaysIt) {
  EXPECT_EQ(Encode("{}", R"({"model_type":"qwen3"})"), kQwen2);
  EXPECT_EQ(Encode("{}", R"({"model_type":"gpt_neox"})"), kNeoX);
  EXPECT_EQ(Encode(R"({"tokenizer_class":"GPT2Tokenizer"})", R"({"model_type":"gpt_neox"})"),
            kGpt2);
}

TEST_F(VocabAndMerges, ClassesOfUnknownPipelinesAreRefused) {
  for (const std::string name :
       {"RobertaTokenizer", "BartTokenizerFast", "CLIPTokenizer", "WhisperTokenizer",
        "BlenderbotTokenizer", "CohereTokenizer", "LlamaTokenizer", "Qwen2TokenizerSlow"})
    Refuses(Cat(R"({"tokenizer_class":")", name, R"("})"), "{}", name);
  Refuses("{}", R"({"model_type":"roberta"})", "\"roberta\"");
  Refuses("{}", R"({"model_type":"gpt2","tokenizer_class":"BartTokenizer"})", "BartTokenizer");
}

TEST_F(VocabAndMerges, AddPrefixSpaceCounts) {
  const Ids want = {275, 279, 66, 136, 223, 270, 430, 220, 16, 17, 279, 58, 47,  32, 35,
                    60,  27,  91, 79,  335, 67,  317, 91,  29, 27, 87,  29, 343, 88, 29};
  EXPECT_EQ(Encode(R"({"tokenizer_class":"GPT2Tokenizer","add_prefix_space":true})"), want);
  EXPECT_EQ(Encode(R"({"tokenizer_class":"CodeGenTokenizer","add_prefix_space":true})"), want);
  // Behind a split, before each of its parts.
  EXPECT_EQ(Encode(R"({"tokenizer_class":"Qwen2Tokenizer","add_prefix_space":true})"),
            (Ids{275, 279, 128, 229, 270, 430, 220, 16, 220, 17, 279, 361, 47, 32,  35,  220, 60,
                 27,  91,  316, 335, 67,  317, 220, 91, 29,  27, 373, 220, 29, 343, 362, 220, 29}));
}

TEST_F(VocabAndMerges, SpecialTokensThatAreNamedAreAdded) {
  EXPECT_EQ(Encode(R"({"tokenizer_class":"GPT2Tokenizer","pad_token":"[PAD]",)"
                   R"("additional_special_tokens":["<x>",{"content":"<y>","lstrip":true}]})"),
            (Ids{64, 279, 66, 136, 223, 270, 430, 16, 17,  279, 431,
                 27, 91,  79, 335, 67,  317, 91,  29, 432, 433}));
  EXPECT_EQ(
      Encode(R"({"tokenizer_class":"GPT2Tokenizer","unk_token":null,"bos_token":null,)"
             R"("eos_token":null})"),
      (Ids{64, 279, 66, 136, 223, 270, 27, 91, 384, 78, 69,  417, 87, 83, 91, 29, 16,  17, 279,
           58, 47,  32, 35,  60,  27,  91, 79, 335, 67, 317, 91,  29, 27, 87, 29, 343, 88, 29}));
}

// Not a comment: a merge of two tokens "#".
TEST_F(VocabAndMerges, AFirstMergeOfNumberSignsCounts) {
  std::string vocab = ReadFile(dir_ / "vocab.json");
  vocab.insert(vocab.size() - 1, ",\"##\":430");
  WriteFile(dir_ / "vocab.json", vocab);
  WriteFile(dir_ / "merges.txt", "# #\n" + ReadFile(dir_ / "merges.txt"));
  const auto tokenizer = OpenPublishedTokenizer(dir_.path());
  SMELT_ASSERT_OK(tokenizer);
  EXPECT_EQ(*(*tokenizer)->Encode("##", {}), Ids{430});
}

}  // namespace
}  // namespace smelt::testing
