// Ids and texts of every recorded case, through the published tokenizer and through the GGUF
// vocabulary written from it.
#include <sstream>

#include "lib/base/status.h"
#include "lib/text/gguf/self_check.h"
#include "lib/text/gguf/vocabulary_writer.h"
#include "lib/text/published/published_tokenizer.h"
#include "tests/testing/testing.h"
#include "tests/text/cases.h"

namespace smelt::testing {

JsonValue ReadJson(const std::string& path) {
  absl::StatusOr<JsonValue> json = ParseJsonValue(ReadFile(path), path, {.allow_nan = true});
  EXPECT_EQ(json.status().ToString(), "OK");
  return json.ok() ? *std::move(json) : JsonValue();
}

std::vector<int32_t> IntList(const JsonValue& list) {
  std::vector<int32_t> out;
  for (const JsonValue& item : *list.as_array())
    out.push_back(static_cast<int32_t>(*item.as_int()));
  return out;
}

std::vector<TokenizerCase> ReadCases(const std::string& folder) {
  std::vector<TokenizerCase> cases;
  std::istringstream lines(ReadFile(folder + "/cases.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    absl::StatusOr<JsonValue> json = ParseJsonValue(line, "cases.jsonl");
    if (!json.ok()) continue;
    TokenizerCase item;
    item.text = *json->Find("text")->as_string();
    item.ids = IntList(*json->Find("ids"));
    const JsonValue* special = json->Find("ids_special");
    item.ids_special = special == nullptr ? item.ids : IntList(*special);
    const JsonValue* decoded = json->Find("decoded");
    item.decoded = decoded == nullptr ? item.text : *decoded->as_string();
    if (const JsonValue* skip = json->Find("decoded_skip_special"))
      item.decoded_skip_special = *skip->as_string();
    cases.push_back(std::move(item));
  }
  return cases;
}

bool ParsesSpecial(const std::string& folder) {
  return *ReadJson(folder + "/info.json").Find("parse_special")->as_bool();
}

namespace {

void ExpectCases(const Tokenizer& tokenizer, const std::string& folder, const std::string& what) {
  const bool parse = ParsesSpecial(folder);
  const std::vector<TokenizerCase> cases = ReadCases(folder);
  ASSERT_GT(cases.size(), 300u);
  int wrong = 0;
  for (const TokenizerCase& item : cases) {
    const auto ids = tokenizer.Encode(item.text, {.add_special = false, .parse_special = parse});
    const auto special = tokenizer.Encode(item.text, {.add_special = true, .parse_special = parse});
    const bool good = ids.ok() && special.ok() && *ids == item.ids &&
                      *special == item.ids_special &&
                      tokenizer.Decode(item.ids, {}) == item.decoded;
    if (!good && ++wrong <= 3) ADD_FAILURE() << what << " differs on " << Escape(item.text);
  }
  EXPECT_EQ(wrong, 0) << what << ", of " << cases.size() << " cases of " << folder;
}

// One of the tokenizers has a normalizer that no pre-tokenizer name stands for: it is refused
// unless the name is given.
VocabularyOptions Insisting(const PublishedTokenizer& published, const std::string& name,
                            const std::string& nameless, const std::string& pre) {
  if (name != nameless) return {};
  Metadata metadata;
  std::vector<std::string> notes;
  const absl::Status refused = WriteVocabulary(published, {}, metadata, notes);
  EXPECT_EQ(CodeOf(refused), ErrorCode::kUnsupported);
  EXPECT_NE(refused.message().find(Cat("--pre ", pre)), absl::string_view::npos) << refused;
  VocabularyOptions options;
  options.pre = pre;
  return options;
}

class SmallTokenizers : public ::testing::TestWithParam<const char*> {};

TEST_P(SmallTokenizers, GiveTheRecordedIds) {
  const std::string folder = TestdataPath("tokenizers-small/" + std::string(GetParam()));
  const auto published = OpenPublishedTokenizer(folder);
  SMELT_ASSERT_OK(published);
  ExpectCases(**published, folder, "the published tokenizer");
  Metadata metadata;
  std::vector<std::string> notes;
  const std::string name = GetParam();
  const VocabularyOptions options = Insisting(**published, name, "bl-nfkc-added-flags", "smollm");
  const absl::Status written = WriteVocabulary(**published, options, metadata, notes);
  const bool has_form = name != "bpe-end-of-word" && name != "split-behaviours" &&
                        name != "split-invert-nofuse" && name != "wordlevel-nfkd";
  if (!has_form) {
    EXPECT_EQ(CodeOf(written), ErrorCode::kUnsupported) << written;
    return;
  }
  SMELT_ASSERT_OK(written);
  const auto gguf = GgufTokenizer(metadata);
  SMELT_ASSERT_OK(gguf);
  ExpectCases(**gguf, folder, "the GGUF vocabulary");
  SMELT_EXPECT_OK(CheckVocabulary(**published, metadata));
}

INSTANTIATE_TEST_SUITE_P(
    All, SmallTokenizers,
    ::testing::Values("bl-nfc-split", "bl-nfkc-added-flags", "bl-prefix-roberta", "bl-punct-digits",
                      "bl-split-ignore-merges", "bpe-end-of-word", "split-behaviours",
                      "split-invert-nofuse", "spm-bpe-noprefix", "spm-bpe-suffix", "spm-gemma",
                      "spm-legacy", "spm-metaspace-first", "spm-unigram-bytes", "spm-unigram-rules",
                      "unigram-precompiled", "wordlevel-nfkd", "wordpiece-bert", "wordpiece-cased",
                      "wordpiece-sequence"));

// Published vocabularies, expanded by the build where the shared folder is there (or by
// unpack_fixtures.sh into the folder that SMELT_TOKENIZERS_DIR names).
class PublishedTokenizers : public ::testing::TestWithParam<const char*> {};

TEST_P(PublishedTokenizers, GiveTheRecordedIds) {
#ifdef SMELT_PUBLISHED_TOKENIZERS
  std::string root = SMELT_PUBLISHED_TOKENIZERS;
#else
  std::string root;
#endif
  if (const char* other = std::getenv("SMELT_TOKENIZERS_DIR"); other != nullptr) root = other;
  if (root.empty())
    GTEST_SKIP() << "SKIPPED: neither the shared folder with zstd, nor SMELT_TOKENIZERS_DIR";
  const std::string folder = root + "/" + GetParam();
  const auto published = OpenPublishedTokenizer(folder);
  SMELT_ASSERT_OK(published);
  ExpectCases(**published, folder, "the published tokenizer");
  Metadata metadata;
  std::vector<std::string> notes;
  // Compares the two as well.
  SMELT_ASSERT_OK(WriteVocabulary(
      **published, Insisting(**published, GetParam(), "claude", "gpt-2"), metadata, notes));
  const auto gguf = GgufTokenizer(metadata);
  SMELT_ASSERT_OK(gguf);
  ExpectCases(**gguf, folder, "the GGUF vocabulary");
}

INSTANTIATE_TEST_SUITE_P(All, PublishedTokenizers,
                         ::testing::Values("bge", "claude", "deepseek-v3", "falcon", "gemma3",
                                           "gpt-4o", "gpt-neox", "gpt2", "llama2", "llama3.1",
                                           "mistral-v1", "mistral-v3", "phi-3", "qwen3", "smollm2",
                                           "starcoder2", "t5", "tekken"));

TEST(Goldens, IdsOfTheEvaluationText) {
  SMELT_REQUIRE_SHARED();
  const std::string text = ReadFile(SharedPath("fixtures/models/eval.txt"));
  for (const char* model : {"llama", "llama-spm", "gpt2", "gptneox", "qwen2", "qwen3", "gemma",
                            "gemma3", "mistral", "phi3", "jamba", "starcoder2", "olmo2"}) {
    const std::string folder = SharedPath("fixtures/models/" + std::string(model));
    const std::vector<int32_t> want = IntList(*ReadJson(folder + "/golden.json").Find("tokens"));
    const auto published = OpenPublishedTokenizer(folder);
    SMELT_ASSERT_OK(published);
    const auto ids = (*published)->Encode(text, {});
    SMELT_ASSERT_OK(ids);
    EXPECT_EQ(*ids, want) << model;
    Metadata metadata;
    std::vector<std::string> notes;
    SMELT_ASSERT_OK(WriteVocabulary(**published, {}, metadata, notes));
    const auto gguf = GgufTokenizer(metadata);
    SMELT_ASSERT_OK(gguf);
    const auto again = (*gguf)->Encode(text, {});
    SMELT_ASSERT_OK(again);
    EXPECT_EQ(*again, want) << model << " through GGUF";
  }
}

}  // namespace
}  // namespace smelt::testing
