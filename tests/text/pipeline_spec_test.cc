// The spec between its readers and its writers: what a file says that nobody may pass over, what
// keys say that contradicts itself, and whether the comparison of two specs sees a difference.
#include "lib/text/spec/pipeline_spec.h"

#include "lib/base/json.h"
#include "lib/base/status.h"
#include "lib/text/gguf/self_check.h"
#include "lib/text/gguf/spec_reader.h"
#include "lib/text/gguf/spec_writer.h"
#include "lib/text/published/published_tokenizer.h"
#include "lib/text/published/readers.h"
#include "lib/text/spec/component_json.h"
#include "lib/text/spec/spec_difference.h"
#include "tests/testing/testing.h"
#include "tests/text/cases.h"

namespace smelt::testing {
namespace {

// ---- tokenizer.json

std::string Bpe(std::string_view members, std::string_view model = "") {
  return Cat(R"({"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2,"c":3},"merges":["a b"])", model,
             "}", members, "}");
}

absl::StatusOr<std::vector<int32_t>> IdsOf(const std::string& tokenizer_json,
                                           std::string_view text) {
  const TempDir dir;
  WriteFile(dir.path() + "/tokenizer.json", tokenizer_json);
  SMELT_ASSIGN_OR_RETURN(const auto tokenizer, OpenPublishedTokenizer(dir.path()));
  return tokenizer->Encode(text, {});
}

TEST(TokenizerJson, DropoutIsRefusedByName) {
  for (const std::string_view rate : {"0.1", "1", "1.0"}) {
    const absl::Status status = IdsOf(Bpe("", Cat(R"(,"dropout":)", rate)), "abc").status();
    EXPECT_EQ(CodeOf(status), ErrorCode::kUnsupported) << status;
    EXPECT_NE(status.message().find("\"dropout\""), absl::string_view::npos) << status;
  }
  EXPECT_FALSE(IdsOf(Bpe("", R"(,"dropout":"0.1")"), "abc").ok());
  for (const std::string_view off : {"null", "0", "0.0"})
    EXPECT_EQ(*IdsOf(Bpe("", Cat(R"(,"dropout":)", off)), "abc"), (std::vector<int32_t>{2, 3}));
}

// As transformers encodes: both are asked for by a caller, not by the file.
TEST(TokenizerJson, TruncationAndPaddingChangeNoIds) {
  EXPECT_EQ(
      *IdsOf(Bpe(R"(,"truncation":{"direction":"Right","max_length":1,"strategy":"LongestFirst",)"
                 R"("stride":0},"padding":{"strategy":{"Fixed":9},"direction":"Right",)"
                 R"("pad_to_multiple_of":null,"pad_id":0,"pad_type_id":0,"pad_token":"a"})"),
             "abcc"),
      (std::vector<int32_t>{2, 3, 3}));
}

TEST(TokenizerJson, ComponentsComeBackAsTheyWere) {
  const std::string_view normalizers[] = {
      R"({"type":"NFKD"})",
      R"({"type":"Sequence","normalizers":[]})",
      R"({"type":"Sequence","normalizers":[{"type":"Lowercase"},{"type":"Prepend","prepend":"x"}]})",
      R"({"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":false,)"
      R"("strip_accents":false,"lowercase":true})",
      R"({"type":"Replace","pattern":{"Regex":" +"},"content":"\n"})",
      R"({"type":"Precompiled","precompiled_charsmap":"AAEC"})"};
  for (const std::string_view text : normalizers) {
    const auto json = ParseJsonValue(text, "test");
    SMELT_ASSERT_OK(json);
    const auto steps = ReadNormalizers(&*json, "test");
    SMELT_ASSERT_OK(steps);
    EXPECT_EQ(ToJson(*steps), text);
  }
  const std::string_view pre_tokenizers[] = {
      R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":true})",
      R"({"type":"Metaspace","replacement":"_","prepend_scheme":"first","split":false})",
      R"({"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"String":"a"},)"
      R"("behavior":"MergedWithNext","invert":true},{"type":"Digits","individual_digits":true}]})"};
  for (const std::string_view text : pre_tokenizers) {
    const auto json = ParseJsonValue(text, "test");
    SMELT_ASSERT_OK(json);
    const auto steps = ReadPreTokenizers(&*json, "test");
    SMELT_ASSERT_OK(steps);
    EXPECT_EQ(ToJson(*steps), text);
  }
}

TEST(TokenizerJson, NestedSequencesAreOneList) {
  const auto json = ParseJsonValue(
      R"({"type":"Sequence","normalizers":[{"type":"Sequence","normalizers":[{"type":"NFC"}]},)"
      R"({"type":"Nmt"}]})",
      "test");
  SMELT_ASSERT_OK(json);
  EXPECT_EQ(*ReadNormalizers(&*json, "test"),
            (std::vector<NormalizerStep>{UnicodeForm{NormalForm::kNfc}, Nmt()}));
}

// ---- GGUF keys

Metadata SentencePieceKeys() {
  Metadata m;
  m.Set("tokenizer.ggml.model", "llama");
  m.Set("tokenizer.ggml.tokens",
        std::vector<std::string>{"<unk>", "<s>", "</s>", "\xe2\x96\x81", "a", "b", "ab", "<0x41>"});
  m.Set("tokenizer.ggml.token_type", std::vector<int32_t>{2, 3, 3, 1, 1, 1, 1, 6});
  m.Set("tokenizer.ggml.scores", std::vector<float>{0, 0, 0, -5, -4, -3, -1, 0});
  return m;
}

TEST(GgufKeys, ByteTokensSayWhichByteTheyAre) {
  SMELT_EXPECT_OK(GgufTokenizer(SentencePieceKeys()).status());
  for (const std::string model : {"llama", "t5"}) {
    for (const std::string text : {"A", "<0x4>", "<0x4g>", "<0x411>", "<0xaF>", "0x41"}) {
      Metadata m = SentencePieceKeys();
      m.Set("tokenizer.ggml.model", model);
      std::vector<std::string> tokens = **m.Strings("tokenizer.ggml.tokens");
      tokens[7] = text;
      m.Set("tokenizer.ggml.tokens", tokens);
      const absl::Status status = GgufTokenizer(m).status();
      EXPECT_EQ(CodeOf(status), ErrorCode::kInvalidInput) << text;
      EXPECT_NE(status.message().find("token 7"), absl::string_view::npos) << status;
    }
  }
}

TEST(GgufKeys, ListedMergesMakeWhatTheirPartsAre) {
  Metadata m = SentencePieceKeys();
  m.Set("smelt.tokenizer.merges", std::vector<int32_t>{4, 5, 6});
  const auto tokenizer = GgufTokenizer(m);
  SMELT_ASSERT_OK(tokenizer);
  EXPECT_EQ(*(*tokenizer)->Encode("ab", {.add_special = false}), (std::vector<int32_t>{3, 6}));
  for (const std::vector<int32_t>& bad : {std::vector<int32_t>{5, 4, 6}, {4, 4, 6}, {4, 5, 3}}) {
    m.Set("smelt.tokenizer.merges", bad);
    const absl::Status status = GgufTokenizer(m).status();
    EXPECT_EQ(CodeOf(status), ErrorCode::kInvalidInput);
    EXPECT_NE(status.message().find("smelt.tokenizer.merges"), absl::string_view::npos) << status;
  }
}

TEST(GgufKeys, OursAboutTypesNeedTypes) {
  Metadata m = SentencePieceKeys();
  m.Erase("tokenizer.ggml.token_type");
  SMELT_EXPECT_OK(GgufTokenizer(m).status());
  for (const std::string_view key : {"smelt.tokenizer.merges", "smelt.tokenizer.added_flags"}) {
    Metadata ours = m;
    ours.Set(key, std::vector<int32_t>());
    const absl::Status status = GgufTokenizer(ours).status();
    EXPECT_EQ(CodeOf(status), ErrorCode::kInvalidInput);
    EXPECT_NE(status.message().find(std::string(key)), absl::string_view::npos) << status;
  }
}

// Neighbours join when their text is a piece, also where one of them is none itself.
TEST(GgufKeys, MergingGoesByText) {
  Metadata m = SentencePieceKeys();
  std::vector<std::string> tokens = **m.Strings("tokenizer.ggml.tokens");
  tokens[4] = "x";  // no "a" any more
  m.Set("tokenizer.ggml.tokens", tokens);
  const auto tokenizer = GgufTokenizer(m);
  SMELT_ASSERT_OK(tokenizer);
  EXPECT_EQ(*(*tokenizer)->Encode("ab", {.add_special = false}), (std::vector<int32_t>{3, 6}));
}

// ---- the comparison

TEST(SpecDifference, NamesTheFirstPartThatDiffers) {
  const auto read = ReadTokenizerJson(
      Bpe(R"(,"normalizer":{"type":"NFC"},"pre_tokenizer":{"type":"WhitespaceSplit"},)"
          R"("added_tokens":[{"id":4,"content":"<x>","single_word":false,"lstrip":false,)"
          R"("rstrip":false,"normalized":false,"special":true}])"),
      "test");
  SMELT_ASSERT_OK(read);
  EXPECT_EQ(FirstDifference(*read, *read), "");
  const auto changed = [&](const auto& change) {
    PipelineSpec other = *read;
    change(other);
    EXPECT_EQ(FirstDifference(other, *read), FirstDifference(*read, other));
    return FirstDifference(*read, other);
  };
  EXPECT_EQ(changed([](PipelineSpec& s) { s.normalizers[0] = Nmt(); }), "the normalizer 0");
  EXPECT_EQ(changed([](PipelineSpec& s) { s.pre_tokenizers.emplace_back(Whitespace()); }),
            "the pre-tokenizer 1");
  EXPECT_EQ(changed([](PipelineSpec& s) { s.tokens.Add(9, "more"); }), "token 9");
  EXPECT_EQ(changed([](PipelineSpec& s) { s.added[0].lstrip = true; }),
            "the added token 4 (\"<x>\")");
  EXPECT_EQ(changed([](PipelineSpec& s) { std::get<BpeModel>(s.model).merges.Add("b", "c"); }),
            "the merge 1");
  EXPECT_EQ(changed([](PipelineSpec& s) { s.model = WordLevelModel(); }), "the kind of the model");
  EXPECT_EQ(changed([](PipelineSpec& s) { std::get<BpeModel>(s.model).fuse_unk = true; }),
            "what the model makes of unknown characters and words");
  EXPECT_EQ(changed([](PipelineSpec& s) { s.decoders = {Fuse()}; }), "the decoder 0");
  EXPECT_EQ(changed([](PipelineSpec& s) { s.post_processors = {TemplateAround({4}, {})}; }),
            "the post-processor 0");
}

// Keys that say something else than what was written are found without any text.
TEST(SelfCheck, ComparesTheSpecThatIsReadBack) {
  const std::string folder = TestdataPath("tokenizers-small/bl-nfc-split");
  const auto published = OpenPublishedTokenizer(folder);
  SMELT_ASSERT_OK(published);
  auto spec = ReadTokenizerJson(ReadFile(folder + "/tokenizer.json"), "tokenizer.json");
  SMELT_ASSERT_OK(spec);
  const auto pipeline = Pipeline::Make(*std::move(spec), "tokenizer.json");
  SMELT_ASSERT_OK(pipeline);
  Metadata metadata, after;
  auto written = WriteSpec(**pipeline, {}, metadata, after);
  SMELT_ASSERT_OK(written);
  for (const Metadata::Entry& entry : after.entries()) metadata.Set(entry.key, entry.value);
  const auto vocabulary = ReadGgufVocabulary(metadata);
  SMELT_ASSERT_OK(vocabulary);
  const auto read = ReadSpec(metadata, *vocabulary);
  SMELT_ASSERT_OK(read);
  written->post_processors = read->post_processors;
  EXPECT_EQ(FirstDifference(*written, *read), "");
  std::vector<std::string> merges = **metadata.Strings("tokenizer.ggml.merges");
  std::swap(merges[merges.size() - 1], merges[merges.size() - 2]);
  metadata.Set("tokenizer.ggml.merges", merges);
  const absl::Status status = CheckVocabulary(**published, metadata, &*written);
  EXPECT_EQ(CodeOf(status), ErrorCode::kInvalidInput);
  EXPECT_NE(status.message().find(Cat("the merge ", merges.size() - 2)), absl::string_view::npos)
      << status;
}

}  // namespace
}  // namespace smelt::testing
