#include "smelt/set.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <filesystem>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "formats/gguf.h"
#include "lib/base/fd.h"
#include "lib/base/status.h"
#include "lib/jobs/header_journal.h"
#include "smelt/convert.h"
#include "tests/testing/conversions.h"
#include "tests/testing/said.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::ReadFile;
using testing::Said;
using testing::TempDir;
using testing::TestdataPath;
using testing::WriteFile;

class Set : public ::testing::Test {
 protected:
  Set() {
    SMELT_EXPECT_OK(Convert(testing::Conversion(TestdataPath("models/llama"), file_, "f16")));
  }

  absl::StatusOr<SetResult> Do(const std::vector<std::string>& texts, bool dry_run = false) {
    SetOptions options{.file = file_, .edits = {}, .dry_run = dry_run};
    for (const std::string& text : texts) options.edits.push_back(ParseMetadataEdit(text).value());
    return SetMetadata(options, said_.observer);
  }
  GgufFile Open() const { return OpenGguf(file_).value(); }
  std::string Text(const std::string& key) const { return Open().metadata.String(key).value(); }

  /// The bytes of all tensors, one behind the other.
  std::string Tensors() const {
    std::string all;
    for (const GgufTensor& tensor : Open().tensors) {
      std::vector<std::byte> bytes(tensor.bytes);
      SMELT_EXPECT_OK(tensor.storage->ReadAt(tensor.offset, bytes));
      all.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    }
    return all;
  }
  /// Nothing but the file itself is in its folder.
  void ExpectAlone() const {
    EXPECT_EQ(std::distance(fs::directory_iterator(dir_.path()), fs::directory_iterator()), 1);
  }

  TempDir dir_;
  const std::string file_ = dir_ / "m.gguf";
  Said said_;
};

TEST_F(Set, WhatFitsIsWrittenInPlaceAndTheRestAnew) {
  const std::string tensors = Tensors();
  struct stat before, after;
  ASSERT_EQ(stat(file_.c_str(), &before), 0);
  const std::string name = Text("general.name");
  absl::StatusOr<SetResult> result = Do({"general.name=" + std::string(name.size(), 'x')});
  SMELT_ASSERT_OK(result);
  EXPECT_EQ(result->how, "in place");
  EXPECT_THAT(result->keys, ElementsAre("general.name"));
  ASSERT_EQ(stat(file_.c_str(), &after), 0);
  EXPECT_EQ(before.st_ino, after.st_ino);
  EXPECT_EQ(Text("general.name"), std::string(name.size(), 'x'));
  EXPECT_EQ(Tensors(), tensors);

  chmod(file_.c_str(), 0640);
  result = Do({"general.description=" + std::string(5000, 'y')});
  SMELT_ASSERT_OK(result);
  EXPECT_EQ(result->how, "copy");
  ASSERT_EQ(stat(file_.c_str(), &after), 0);
  EXPECT_EQ(after.st_mode & 0777, 0640u);
  EXPECT_EQ(Tensors(), tensors);

  // What became shorter leaves a place that what comes later fills, in place.
  const auto size = fs::file_size(file_);
  result = Do({"general.description=short"});
  SMELT_ASSERT_OK(result);
  EXPECT_EQ(result->how, "in place");
  EXPECT_EQ(fs::file_size(file_), size);
  EXPECT_EQ(Tensors(), tensors);
  result = Do({"general.description=" + std::string(4990, 'z'), "general.url=a"});
  SMELT_ASSERT_OK(result);
  EXPECT_EQ(result->how, "copy");  // 5000 bytes were there, and the second key takes more than 10
  result = Do({"general.url-"});
  SMELT_ASSERT_OK(result);
  EXPECT_EQ(result->how, "in place");
  EXPECT_EQ(Text("general.description"), std::string(4990, 'z'));
  EXPECT_FALSE(Open().metadata.Has("general.url"));
  EXPECT_EQ(Tensors(), tensors);
  result = Do({"general.description=" + std::string(4990, 'z')});
  SMELT_ASSERT_OK(result);
  EXPECT_EQ(result->how, "unchanged");
  ExpectAlone();
}

/// Every length that a text can have in the place of another: in place or anew, always the same.
TEST_F(Set, EveryLengthReadsBack) {
  SMELT_ASSERT_OK(Do({"general.description=" + std::string(200, 'a')}));
  const std::string tensors = Tensors();
  const std::string start = ReadFile(file_);
  for (size_t length = 0; length <= 210; ++length) {
    WriteFile(file_, start);
    const auto result = Do({"general.description=str:" + std::string(length, 'b')});
    SMELT_ASSERT_OK(result);
    ASSERT_EQ(Text("general.description"), std::string(length, 'b'));
    ASSERT_EQ(Tensors(), tensors) << length;
    // Only where 1 to 32 bytes more than the padding are left does the padding's key not fit.
    if (length <= 140) {
      EXPECT_EQ(result->how, "in place") << length;
    }
  }
}

TEST_F(Set, FilesTokensAndTypes) {
  WriteFile(dir_ / "t.jinja", "{{ messages[0]['content'] }}\n");
  const std::string token = Open().metadata.Strings("tokenizer.ggml.tokens").value()->at(7);
  SMELT_ASSERT_OK(Do({"tokenizer.chat_template=@" + dir_ / "t.jinja", "my.number=u8:7",
                      "tokenizer.ggml.eot_token_id=str:" + token, "my.at=str:@x"}));
  const GgufFile file = Open();
  EXPECT_EQ(Text("tokenizer.chat_template"), "{{ messages[0]['content'] }}\n");
  EXPECT_EQ(*file.metadata.Find("my.number"), MetadataValue(uint8_t{7}));
  EXPECT_EQ(*file.metadata.Find("tokenizer.ggml.eot_token_id"), MetadataValue(7u));
  EXPECT_EQ(Text("my.at"), "@x");
  SMELT_ASSERT_OK(Do({"my.number-"}));
  EXPECT_FALSE(Open().metadata.Has("my.number"));
}

TEST_F(Set, WhatWouldBreakTheFileIsRefusedAndNothingIsWritten) {
  const std::string before = ReadFile(file_);
  const std::pair<std::vector<std::string>, const char*> cases[] = {
      {{"tokenizer.ggml.eos_token_id=999999"}, "there are "},
      {{"tokenizer.ggml.eos_token_id=<|nowhere|>"}, "no token of the vocabulary is"},
      {{"tokenizer.ggml.tokens-"}, "tokenizer.ggml.tokens"},
      {{"llama.block_count=40"}, "could not be read any more"},
      {{"general.architecture-"}, "general.architecture"},
      {{"llama.block_count=many"}, "must be u32"},
      {{"general.nmae-"}, "general.name"},
      {{"general.alignment=64"}, "general.alignment"},
      {{"split.count=3"}, "split.count"},
      {{"general.description=@" + dir_ / "nowhere"}, "nowhere"},
  };
  for (const auto& [edits, words] : cases) {
    const absl::Status status = Do(edits).status();
    EXPECT_THAT(std::string(status.message()), HasSubstr(words));
    EXPECT_FALSE(status.ok()) << edits[0];
  }
  EXPECT_EQ(ReadFile(file_), before);
  ExpectAlone();
  for (const char* bad : {"", "=x", "-", "key", "a b=c"})
    EXPECT_EQ(CodeOf(ParseMetadataEdit(bad).status()), ErrorCode::kUsage) << bad;
}

TEST_F(Set, ADryRunOnlySays) {
  const std::string before = ReadFile(file_);
  EXPECT_EQ(Do({"general.name=n"}, true)->how, "in place");
  EXPECT_EQ(Do({"general.name=" + std::string(999, 'n')}, true)->how, "copy");
  EXPECT_EQ(ReadFile(file_), before);
}

TEST_F(Set, LinksKeepTheirBytesAndBlobsAreNeverChanged) {
  const std::string before = ReadFile(file_), link = dir_ / "link.gguf";
  fs::create_hard_link(file_, link);
  EXPECT_EQ(Do({"general.name=n"})->how, "copy");
  EXPECT_EQ(ReadFile(link), before);
  EXPECT_EQ(Text("general.name"), "n");
  const std::string blob = dir_ / ("sha256-" + std::string(64, 'a'));
  fs::rename(link, blob);
  fs::create_symlink(blob, link);
  SetOptions options{
      .file = link, .edits = {ParseMetadataEdit("general.name=n").value()}, .dry_run = false};
  EXPECT_EQ(CodeOf(SetMetadata(options).status()), ErrorCode::kUsage);
  EXPECT_EQ(ReadFile(blob), before);
}

std::span<const std::byte> Bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

/// Ended after any number of bytes, or before the first: the journal finishes it, and until then
/// nobody reads the file.
TEST_F(Set, AnInterruptedChangeIsFinished) {
  const std::string before = ReadFile(file_), name = file_ + std::string(kGgufJournalSuffix);
  SMELT_ASSERT_OK(Do({"general.name=Another"}));
  const std::string after = ReadFile(file_);
  ASSERT_EQ(before.size(), after.size());
  WriteFile(file_, before);
  {
    const Fd unwritable(open(file_.c_str(), O_RDONLY));
    ASSERT_FALSE(ReplaceHeader(unwritable.get(), file_, Bytes(before), Bytes(after)).ok());
  }
  EXPECT_EQ(ReadFile(file_), before);
  const std::string journal = ReadFile(name);
  for (size_t written : {size_t{0}, size_t{1}, size_t{60}, before.size() / 2, before.size()}) {
    WriteFile(name, journal);
    WriteFile(file_, after.substr(0, written) + before.substr(written));
    EXPECT_THAT(std::string(OpenGguf(file_).status().message()), HasSubstr("smelt set"));
    const absl::StatusOr<SetResult> result = Do({});
    SMELT_ASSERT_OK(result);
    EXPECT_EQ(result->how, "unchanged");
    EXPECT_EQ(ReadFile(file_), after);
    ExpectAlone();
  }
  EXPECT_THAT(said_.notes, HasSubstr("was finished"));

  // A journal that is not of this file, or not whole, changes nothing.
  std::string other = before;
  other[40] ^= 0x55;
  for (const auto& [file, content] : {std::pair(other, journal),
                                      {before + "x", journal},
                                      {before, journal.substr(0, journal.size() - 1)},
                                      {before, journal.substr(0, 10)},
                                      {before, std::string()}}) {
    WriteFile(name, content);
    WriteFile(file_, file);
    EXPECT_EQ(CodeOf(Do({}).status()), ErrorCode::kInvalidInput);
    EXPECT_EQ(ReadFile(file_), file);
  }
}

}  // namespace
}  // namespace smelt
