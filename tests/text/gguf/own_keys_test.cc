// Keys of our own beside a vocabulary: read strictly, whatever its kind, and none is passed over.
#include "lib/base/own_keys.h"

#include <limits>

#include "lib/text/gguf/vocabulary_writer.h"
#include "lib/text/published/published_tokenizer.h"
#include "tests/testing/own_keys.h"
#include "tests/testing/testing.h"

namespace smelt::testing {
namespace {

/// One of every kind: gpt2, llama, t5 as SentencePiece and as a pipeline, bert.
constexpr const char* kFolders[] = {"bl-nfc-split", "spm-legacy", "spm-unigram-rules",
                                    "unigram-precompiled", "wordpiece-bert"};

Metadata VocabularyOf(const std::string& folder) {
  const auto published = OpenPublishedTokenizer(TestdataPath("tokenizers-small/" + folder));
  EXPECT_TRUE(published.ok()) << published.status();
  Metadata out;
  std::vector<std::string> notes;
  SMELT_EXPECT_OK(WriteVocabulary(**published, {}, out, notes));
  SMELT_EXPECT_OK(GgufTokenizer(out));
  return out;
}

void ExpectRefused(Metadata metadata, std::string_view key, const MetadataValue& value) {
  metadata.Set(key, value);
  const absl::Status status = GgufTokenizer(metadata).status();
  EXPECT_FALSE(status.ok()) << key;
  EXPECT_NE(std::string(status.message()).find(key), std::string::npos) << status;
}

TEST(OwnKeysOfVocabularies, AWrongTypeIsRefusedByNameInEveryKind) {
  for (const char* folder : kFolders) {
    SCOPED_TRACE(folder);
    const Metadata vocabulary = VocabularyOf(folder);
    for (const OwnKeyRow& row : kOwnKeys) {
      if (!row.name.starts_with(kOwnTokenizerPrefix)) continue;
      for (const MetadataValue& value : OtherTypes(row)) ExpectRefused(vocabulary, row.name, value);
    }
    ExpectRefused(vocabulary, "smelt.tokenizer.future", true);
  }
}

TEST(OwnKeysOfVocabularies, WrongValuesAreRefusedByNameInEveryKind) {
  for (const char* folder : kFolders) {
    SCOPED_TRACE(folder);
    const Metadata vocabulary = VocabularyOf(folder);
    const auto tokens =
        static_cast<int32_t>((*vocabulary.Strings("tokenizer.ggml.tokens"))->size());
    using Ids = std::vector<int32_t>;
    for (const OwnKeyRow& row : kOwnKeys) {
      if (row.values == KeyValues::kTokenIds || row.values == KeyValues::kTokenIdsAndBits) {
        ExpectRefused(vocabulary, row.name, Ids{tokens, 0, 0, 0, 0, 0});
        ExpectRefused(vocabulary, row.name, Ids{-1, 0, 0, 0, 0, 0});
      }
    }
    ExpectRefused(vocabulary, "smelt.tokenizer.added_flags", Ids{0});
    ExpectRefused(vocabulary, "smelt.tokenizer.added_flags", Ids{0, 256});
    ExpectRefused(vocabulary, "smelt.tokenizer.merges", Ids{0, 0});
    ExpectRefused(vocabulary, "smelt.tokenizer.extra_tokens", std::vector<std::string>{"a"});
    ExpectRefused(vocabulary, "smelt.tokenizer.extra_types", Ids{3});
    ExpectRefused(vocabulary, "smelt.tokenizer.source", "elsewhere");
    ExpectRefused(vocabulary, "smelt.tokenizer.space_prefix", "sometimes");
    constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
    ExpectRefused(vocabulary, "smelt.tokenizer.unknown_score", kNan);
    ExpectRefused(vocabulary, "smelt.tokenizer.scores", std::vector<double>{kNan});
    ExpectRefused(vocabulary, "smelt.tokenizer.scores",
                  std::vector<float>(static_cast<size_t>(tokens) + 1));
  }
}

}  // namespace
}  // namespace smelt::testing
