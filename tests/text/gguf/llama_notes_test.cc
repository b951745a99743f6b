// What convert says about llama.cpp: each cause where its ids were seen to differ, nothing where
// they were seen to be the same.
#include "lib/text/gguf/llama_notes.h"

#include <filesystem>
#include <fstream>

#include "lib/base/cat.h"
#include "lib/base/json.h"
#include "lib/text/components/byte_level.h"
#include "lib/text/gguf/vocabulary_writer.h"
#include "lib/text/published/published_tokenizer.h"
#include "tests/testing/testing.h"
#include "tests/text/cases.h"

namespace smelt::testing {
namespace {

// The note for a folder called `name`; other notes are ignored.
std::string NoteOf(const std::string& folder, const std::string& name = "") {
  const auto published = OpenPublishedTokenizer(folder);
  EXPECT_TRUE(published.ok()) << published.status();
  if (!published.ok()) return "?";
  Metadata metadata;
  if (!name.empty()) metadata.Set("general.name", name);
  std::vector<std::string> notes;
  const absl::Status written = WriteVocabulary(**published, {}, metadata, notes);
  EXPECT_TRUE(written.ok()) << written;
  std::string out;
  for (const std::string& note : notes) {
    if (!note.starts_with("llama.cpp")) continue;
    EXPECT_EQ(out, "") << "one note for all causes";
    out = note;
  }
  return out;
}

struct Expected {
  const char* folder;
  std::vector<const char*> causes;  // in order; none: no note
};

void ExpectNote(const std::string& note, const std::vector<const char*>& causes) {
  size_t at = 0;
  for (const char* cause : causes) {
    const size_t found = note.find(cause, at);
    ASSERT_NE(found, std::string::npos) << cause << " in: " << note;
    at = found;
  }
  const auto parts = static_cast<size_t>(std::count(note.begin(), note.end(), ';'));
  EXPECT_EQ(parts + (note.empty() ? 0 : 1), causes.size()) << note;
}

TEST(LlamaNotes, OfSmallTokenizers) {
  SMELT_REQUIRE_SHARED();
  const Expected kExpected[] = {
      {"bl-nfc-split", {"normalizer (NFC)"}},
      {"bl-prefix-roberta", {"add_prefix_space", "spaces around special tokens"}},
      {"bl-punct-digits", {}},
      {"bl-split-ignore-merges", {}},
      {"spm-bpe-noprefix", {"user-defined pieces"}},
      {"spm-metaspace-first",
       {"after special tokens", "only the pairs", "spaces around special tokens"}},
      {"unigram-precompiled", {"segmentations tie"}},
      {"wordpiece-bert", {"Korean", "very long words"}},
      {"wordpiece-cased", {"very long words", "normalize as BERT"}},
  };
  for (const Expected& e : kExpected) {
    SCOPED_TRACE(e.folder);
    ExpectNote(NoteOf(SharedPath("fixtures/tokenizers-small/" + std::string(e.folder))), e.causes);
  }
}

#ifdef SMELT_PUBLISHED_TOKENIZERS
TEST(LlamaNotes, OfPublishedTokenizers) {
  const Expected kExpected[] = {
      {"gpt2", {}},
      {"llama2", {}},
      {"llama3.1", {}},
      {"falcon", {}},
      {"smollm2", {}},
      {"deepseek-v3", {}},
      {"gpt-neox", {"normalizer (NFC)"}},
      {"gpt-4o", {"combining marks", "capitals inside words"}},
      {"tekken", {"combining marks", "capitals inside words"}},
      {"gemma3", {"a typed \xe2\x96\x81"}},
      {"mistral-v3", {"user-defined pieces"}},
      {"bge", {"Korean", "very long words"}},
  };
  for (const Expected& e : kExpected) {
    SCOPED_TRACE(e.folder);
    ExpectNote(NoteOf(std::string(SMELT_PUBLISHED_TOKENIZERS) + "/" + e.folder), e.causes);
  }
}

// llama.cpp removes the spaces after special tokens in models with certain names only.
TEST(LlamaNotes, SpacesAfterTokensGoByTheName) {
  const std::string folder = std::string(SMELT_PUBLISHED_TOKENIZERS) + "/phi-3";
  EXPECT_EQ(NoteOf(folder), "");
  ExpectNote(NoteOf(folder, "Phi-3-mini"), {"spaces around special tokens"});
}
#endif

// The unknown token of a WordPiece vocabulary, where readers would take token 100.
TEST(LlamaNotes, WordPieceNamesItsUnknownToken) {
  SMELT_REQUIRE_SHARED();
  const auto published =
      OpenPublishedTokenizer(SharedPath("fixtures/tokenizers-small/wordpiece-cased"));
  SMELT_ASSERT_OK(published);
  Metadata metadata;
  std::vector<std::string> notes;
  SMELT_ASSERT_OK(WriteVocabulary(**published, {}, metadata, notes));
  const MetadataValue* unknown = metadata.Find("tokenizer.ggml.unknown_token_id");
  ASSERT_NE(unknown, nullptr);
  EXPECT_EQ(unknown->IntAt(0), 1);
}

// A byte-level tokenizer of all bytes (or of three) with one added token and one merge.
std::string ByteLevelNote(const std::string& flags, bool all_bytes = true,
                          const std::string& model = "") {
  std::string vocab = R"("ab":0)";
  int id = 1;
  for (int b = 0; b < 256; ++b) {
    if (!all_bytes && (b < 'a' || b > 'c')) continue;
    const char c = static_cast<char>(b);
    std::string text;
    AppendByteLevel(text, std::string_view(&c, 1));
    vocab += Cat(",", JsonQuote(text), ":", id++);
  }
  const TempDir dir;
  std::ofstream(dir.path() + "/tokenizer.json")
      << R"({"added_tokens":[{"id":)" << id << R"(,"content":"<m>","special":true,)"
      << R"("normalized":false,)" << flags << R"(}],"normalizer":null,"pre_tokenizer":)"
      << R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":true},"decoder":)"
      << R"({"type":"ByteLevel"},"model":{"type":"BPE","vocab":{)" << vocab << "}" << model
      << R"(,"merges":["a b"]}})";
  return NoteOf(dir.path());
}

TEST(LlamaNotes, OfByteLevelModels) {
  const std::string none = R"("lstrip":false,"rstrip":false,"single_word":false)";
  ExpectNote(ByteLevelNote(none), {});
  ExpectNote(ByteLevelNote(R"("lstrip":true,"rstrip":false,"single_word":false)"),
             {"spaces around"});
  ExpectNote(ByteLevelNote(R"("lstrip":false,"rstrip":true,"single_word":false)"),
             {"spaces around"});
  ExpectNote(ByteLevelNote(R"("lstrip":false,"rstrip":false,"single_word":true)"),
             {"inside words"});
  ExpectNote(ByteLevelNote(none, false), {});  // both drop them
  ExpectNote(ByteLevelNote(none, false, R"(,"unk_token":"c")"), {"the vocabulary lacks"});
  ExpectNote(ByteLevelNote(none, true, R"(,"ignore_merges":true)"), {"whole tokens"});
}

}  // namespace
}  // namespace smelt::testing
