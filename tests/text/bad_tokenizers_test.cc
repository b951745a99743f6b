// Broken and hostile tokenizer files: refused with a sentence that names what is wrong, or read;
// never anything else.
#include <sys/stat.h>

#include <filesystem>

#include "lib/base/status.h"
#include "lib/text/gguf/vocabulary_writer.h"
#include "lib/text/published/published_tokenizer.h"
#include "tests/testing/testing.h"
#include "tests/text/cases.h"

namespace smelt::testing {
namespace {

bool Mentions(std::string text, const JsonValue& words) {
  for (char& c : text) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  if (words.as_array()->empty()) return true;
  for (const JsonValue& word : *words.as_array()) {
    std::string wanted = *word.as_string();
    for (char& c : wanted) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
    if (text.find(wanted) != std::string::npos) return true;
  }
  return false;
}

TEST(BadTokenizers, AsTheManifestAsks) {
  SMELT_REQUIRE_SHARED();
  const JsonValue manifest = ReadJson(SharedPath("fixtures/bad/MANIFEST.json"));
  int seen = 0;
  for (const JsonValue& entry : *manifest.as_array()) {
    const std::string id = *entry.Find("id")->as_string();
    if (!id.starts_with("tok-") && !id.starts_with("spm-")) continue;
    const JsonValue::Array& command = *entry.Find("command")->as_array();
    const bool convert = *command[0].as_string() == "convert";
    if (!convert && *command[0].as_string() != "tokenize") continue;  // chat templates
    const std::string folder = SharedPath("fixtures/bad/" + *entry.Find("path")->as_string());
    if (!std::filesystem::exists(folder)) continue;
    ++seen;
    absl::Status status;
    const auto tokenizer = OpenPublishedTokenizer(folder);
    status = tokenizer.status();
    if (status.ok() && convert) {
      Metadata metadata;
      std::vector<std::string> notes;
      VocabularyOptions options;
      options.rows = 288;
      options.architecture = "llama";
      status = WriteVocabulary(**tokenizer, options, metadata, notes);
    } else if (status.ok()) {
      status = (*tokenizer)->Encode(*command[2].as_string(), {}).status();
    }
    const std::string expect = *entry.Find("expect")->as_string();
    if (expect == "accept") {
      EXPECT_TRUE(status.ok()) << id << ": " << status;
    }
    if (expect == "refuse") {
      EXPECT_FALSE(status.ok()) << id;
      EXPECT_TRUE(Mentions(std::string(status.message()), *entry.Find("mentions")))
          << id << ": " << status.message();
    }
    EXPECT_LT(status.message().size(), 390u) << id;
  }
  EXPECT_GT(seen, 40);
}

std::string BpeWith(std::string_view merges) {
  return Cat(R"({"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2})", merges, "}}");
}

TEST(BadTokenizers, ABpeModelNeedsAListOfMerges) {
  const TempDir dir;
  for (const std::string_view merges : {R"(,"merges":5)", R"(,"merges":null)", R"(,"merges":"a b")",
                                        R"(,"merges":{})", "", R"(,"Merges":["a b"])"}) {
    WriteFile(dir.path() + "/tokenizer.json", BpeWith(merges));
    const auto tokenizer = OpenPublishedTokenizer(dir.path());
    ASSERT_FALSE(tokenizer.ok()) << merges;
    EXPECT_NE(tokenizer.status().message().find("merges"), absl::string_view::npos)
        << merges << ": " << tokenizer.status();
  }
  WriteFile(dir.path() + "/tokenizer.json", BpeWith(R"(,"merges":[])"));
  const auto tokenizer = OpenPublishedTokenizer(dir.path());
  SMELT_ASSERT_OK(tokenizer);
  EXPECT_EQ(*(*tokenizer)->Encode("ab", {}), (std::vector<int32_t>{0, 1}));
}

TEST(BadTokenizers, AFileThatIsThereAndCannotBeReadIsNotPassedOver) {
  namespace fs = std::filesystem;
  for (const std::string_view name :
       {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
        "chat_template.jinja", "chat_template.json", "additional_chat_templates"}) {
    for (const std::string_view kind : {"link", "fifo", "folder", "device"}) {
      if (kind == "folder" && name == "additional_chat_templates") continue;
      const TempDir dir;
      const std::string file = Cat(dir.path(), "/", name);
      if (name != "tokenizer.json")
        WriteFile(dir.path() + "/tokenizer.json", BpeWith(R"(,"merges":["a b"])"));
      SMELT_ASSERT_OK(name == "tokenizer.json" ? absl::OkStatus()
                                               : OpenPublishedTokenizer(dir.path()).status());
      if (kind == "link") fs::create_symlink("nowhere", file);
      if (kind == "fifo") {
        ASSERT_EQ(mkfifo(file.c_str(), 0600), 0);
      }
      if (kind == "folder") fs::create_directory(file);
      if (kind == "device") fs::create_symlink("/dev/zero", file);
      const auto tokenizer = OpenPublishedTokenizer(dir.path());
      ASSERT_FALSE(tokenizer.ok()) << name << " " << kind;
      const std::string sentence(tokenizer.status().message());
      EXPECT_NE(sentence.find(name), std::string::npos) << sentence;
      EXPECT_EQ(sentence.find("has no tokenizer"), std::string::npos) << sentence;
    }
  }
}

}  // namespace
}  // namespace smelt::testing
