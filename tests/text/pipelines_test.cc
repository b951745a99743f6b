// Small pipelines, each for a rule of the `tokenizers` library that is easily missed, against what
// the library makes of them; and through the GGUF vocabulary where there is one.
#include <fstream>
#include <sstream>

#include "lib/base/status.h"
#include "lib/text/vocabulary.h"
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
  const absl::Status written = (*published)->WriteVocabulary({}, metadata, notes);
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
    const auto ids = (*published)->Encode(text, {.add_special = false});
    SMELT_ASSERT_OK(ids);
    EXPECT_EQ(*ids, want);
    EXPECT_EQ((*published)->Decode(want, {.show_special = true}),
              *item.Find("decoded")->as_string());
    EXPECT_EQ((*published)->Decode(want, {.show_special = false}),
              *item.Find("hidden")->as_string());
    if (gguf == nullptr) continue;
    const auto again = gguf->Encode(text, {.add_special = false});
    SMELT_ASSERT_OK(again);
    EXPECT_EQ(*again, want) << "through GGUF";
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
  EXPECT_EQ(seen, 22);
}

}  // namespace
}  // namespace smelt::testing
