// Small pipelines, each for a rule of the `tokenizers` library that is easily missed, against what
// the library makes of them; and through the GGUF vocabulary where there is one.
#include <fstream>
#include <sstream>

#include "lib/base/status.h"
#include "lib/text/gguf/vocabulary_writer.h"
#include "lib/text/published/published_tokenizer.h"
#include "tests/testing/testing.h"
#include "tests/text/cases.h"

namespace smelt::testing {
namespace {

void ExpectPipeline(const JsonValue& pipeline) {
  const TempDir dir;
  std::ofstream(dir.path() + "/tokenizer.json") << pipeline.Find("tokenizer")->ToText();
  const auto published = OpenPublishedTokenizer(dir.path());
  SMELT_ASSERT_OK(published);
  Metadata metadata;
  std::vector<std::string> notes;
  const absl::Status written = WriteVocabulary(**published, {}, metadata, notes);
  std::unique_ptr<Tokenizer> gguf;
  if (written.ok()) {
    auto made = GgufTokenizer(metadata);
    SMELT_ASSERT_OK(made);
    gguf = *std::move(made);
  } else {  // never because the two came out differently
    EXPECT_EQ(CodeOf(written), ErrorCode::kUnsupported) << written;
  }
  for (const JsonValue& item : *pipeline.Find("cases")->as_array()) {
    const std::string& text = *item.Find("text")->as_string();
    SCOPED_TRACE(Escape(text));
    const std::vector<int32_t> want = IntList(*item.Find("ids"));
    const std::vector<int32_t> special = IntList(*item.Find("special"));
    const auto ids = (*published)->Encode(text, {.add_special = false});
    SMELT_ASSERT_OK(ids);
    EXPECT_EQ(*ids, want);
    EXPECT_EQ(*(*published)->Encode(text, {}), special);
    EXPECT_EQ((*published)->Decode(want, {.show_special = true}),
              *item.Find("decoded")->as_string());
    EXPECT_EQ((*published)->Decode(want, {.show_special = false}),
              *item.Find("hidden")->as_string());
    if (gguf == nullptr) continue;
    const auto again = gguf->Encode(text, {.add_special = false});
    SMELT_ASSERT_OK(again);
    EXPECT_EQ(*again, want) << "through GGUF";
    EXPECT_EQ(*gguf->Encode(text, {}), special) << "through GGUF";
    for (const bool show : {true, false})
      EXPECT_EQ(gguf->Decode(want, {.show_special = show}),
                *item.Find(show ? "decoded" : "hidden")->as_string())
          << "through GGUF";
  }
}

TEST(Pipelines, GiveTheLibrarysIds) {
  std::istringstream lines(ReadFile(TestdataPath("tokenizer-pipelines/cases.jsonl")));
  int seen = 0;
  for (std::string line; std::getline(lines, line); ++seen) {
    const auto pipeline = ParseJsonValue(line, "cases.jsonl");
    SMELT_ASSERT_OK(pipeline);
    SCOPED_TRACE(*pipeline->Find("name")->as_string());
    ExpectPipeline(*pipeline);
  }
  EXPECT_EQ(seen, 35);
}

// A member that is absent, null or of another type means what the library takes for it; what the
// library refuses is refused, or read as if nothing had been changed where the member does not
// matter to us.
TEST(Pipelines, LackMembersAsTheLibraryHasThem) {
  const TempDir dir;
  std::istringstream lines(ReadFile(TestdataPath("tokenizer-pipelines/members.jsonl")));
  int seen = 0, read = 0;
  for (std::string line; std::getline(lines, line); ++seen) {
    const auto item = ParseJsonValue(line, "members.jsonl");
    SMELT_ASSERT_OK(item);
    SCOPED_TRACE(*item->Find("name")->as_string());
    WriteFile(dir.path() + "/tokenizer.json", item->Find("tokenizer")->ToText());
    const JsonValue& wanted = *item->Find(item->FindNonNull("ids") ? "ids" : "original");
    const auto tokenizer = OpenPublishedTokenizer(dir.path());
    const auto ids = tokenizer.ok() ? (*tokenizer)->Encode(*item->Find("text")->as_string(), {})
                                    : absl::StatusOr<std::vector<int32_t>>(tokenizer.status());
    if (ids.ok()) {
      EXPECT_EQ(*ids, IntList(wanted));
      ++read;
    } else {  // a component that does not say its type is not guessed
      EXPECT_TRUE(item->FindNonNull("ids") == nullptr ||
                  CodeOf(ids.status()) == ErrorCode::kUnsupported)
          << ids.status();
      EXPECT_LT(ids.status().message().size(), 400u);
    }
    if (!tokenizer.ok()) continue;
    Metadata metadata;
    std::vector<std::string> notes;
    const absl::Status written = WriteVocabulary(**tokenizer, {}, metadata, notes);
    EXPECT_EQ(written.message().find("encodes"), absl::string_view::npos) << written;
  }
  EXPECT_EQ(seen, 402);
  EXPECT_GT(read, 100);
}

// A tokenizer.json with the letters a and b and this post-processor.
std::string WithPostProcessor(std::string_view processor) {
  return Cat(R"({"added_tokens":[{"id":2,"content":"<s>","single_word":false,"lstrip":false,)",
             R"("rstrip":false,"normalized":false,"special":true}],"normalizer":null,)",
             R"("pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},"decoder":null,)",
             R"("model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":[]},"post_processor":)",
             processor, "}");
}

std::string Template(std::string_view single, std::string_view id) {
  return Cat(R"({"type":"TemplateProcessing","single":[)", single,
             R"(],"pair":[],"special_tokens":{"<s>":{"id":"<s>","ids":[)", id,
             R"(],"tokens":["<s>"]}}})");
}

constexpr std::string_view kPiece = R"({"Sequence":{"id":"A","type_id":0}})";
constexpr std::string_view kToken = R"({"SpecialToken":{"id":"<s>","type_id":0}})";

TEST(PostProcessors, TokensThatTheVocabularyLacksAreNamed) {
  const TempDir dir;
  const std::string single = Cat(kToken, ",", kPiece);
  for (const std::string& processor :
       {Template(single, "3"), Template(single, "2,900000"),
        std::string(R"({"type":"BertProcessing","cls":["<s>",2],"sep":["</s>",3]})"),
        std::string(R"({"type":"RobertaProcessing","cls":["<s>",7],"sep":["</s>",2]})")}) {
    WriteFile(dir.path() + "/tokenizer.json", WithPostProcessor(processor));
    const auto tokenizer = OpenPublishedTokenizer(dir.path());
    ASSERT_FALSE(tokenizer.ok()) << processor;
    const std::string sentence(tokenizer.status().message());
    EXPECT_NE(sentence.find("Processing adds the token"), std::string::npos) << sentence;
    EXPECT_NE(sentence.find("which the vocabulary does not have"), std::string::npos) << sentence;
  }
  WriteFile(dir.path() + "/tokenizer.json", WithPostProcessor(Template(single, "2")));
  const auto tokenizer = OpenPublishedTokenizer(dir.path());
  SMELT_ASSERT_OK(tokenizer);
  EXPECT_EQ(*(*tokenizer)->Encode("ab", {}), (std::vector<int32_t>{2, 0, 1}));
}

TEST(PostProcessors, MoreThanAVocabularyCanSayIsRefused) {
  const TempDir dir;
  WriteFile(dir.path() + "/tokenizer.json",
            WithPostProcessor(Template(Cat(kToken, ",", kToken, ",", kPiece), "2")));
  const auto tokenizer = OpenPublishedTokenizer(dir.path());
  SMELT_ASSERT_OK(tokenizer);
  Metadata metadata;
  std::vector<std::string> notes;
  const absl::Status status = WriteVocabulary(**tokenizer, {}, metadata, notes);
  EXPECT_EQ(CodeOf(status), ErrorCode::kUnsupported);
  EXPECT_NE(status.message().find("post-processor puts 2 tokens before"), absl::string_view::npos)
      << status;
}

TEST(PostProcessors, OneOfASequenceAddsTokens) {
  const TempDir dir;
  const std::string adds = Template(Cat(kToken, ",", kPiece), "2"), plain = Template(kPiece, "2");
  const auto sequence = [](const std::string& first, const std::string& second) {
    return WithPostProcessor(Cat(R"({"type":"Sequence","processors":[)", first, ",", second, "]}"));
  };
  WriteFile(dir.path() + "/tokenizer.json", sequence(plain, adds));
  const auto tokenizer = OpenPublishedTokenizer(dir.path());
  SMELT_ASSERT_OK(tokenizer);
  EXPECT_EQ(*(*tokenizer)->Encode("ab", {}), (std::vector<int32_t>{2, 0, 1}));
  WriteFile(dir.path() + "/tokenizer.json", sequence(adds, adds));
  const absl::Status status = OpenPublishedTokenizer(dir.path()).status();
  EXPECT_EQ(CodeOf(status), ErrorCode::kUnsupported) << status;
  EXPECT_NE(status.message().find("two post-processors"), absl::string_view::npos) << status;
}

TEST(Normalizers, AnAddedTokenOfWhichNothingIsLeftIsRefused) {
  const TempDir dir;
  std::string text = WithPostProcessor("null");
  const std::string_view before = R"("normalizer":null)";
  text.replace(text.find(before), before.size(),
               R"("normalizer":{"type":"Strip","strip_left":true,"strip_right":true})");
  const std::string_view content = R"("content":"<s>")";
  text.replace(text.find(content), content.size(), R"("content":"  ")");
  const std::string_view raw = R"("normalized":false)";
  text.replace(text.find(raw), raw.size(), R"("normalized":true)");
  WriteFile(dir.path() + "/tokenizer.json", text);
  const auto tokenizer = OpenPublishedTokenizer(dir.path());
  ASSERT_FALSE(tokenizer.ok());
  EXPECT_NE(tokenizer.status().message().find("leaves nothing of the added token"),
            absl::string_view::npos)
      << tokenizer.status();
}

}  // namespace
}  // namespace smelt::testing
