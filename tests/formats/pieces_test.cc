// Files that were cut by bytes, and downloads that are not finished.
#include "formats/pieces.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "formats/model_folder.h"
#include "lib/base/status.h"
#include "lib/base/storage.h"
#include "lib/base/unfinished.h"
#include "smelt/text.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

namespace fs = std::filesystem;

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::TempDir;

using Names = std::vector<std::string>;

TEST(Pieces, AreKnownByTheirNames) {
  const struct {
    Names names;  ///< in the order of their pieces
    std::string whole;
    bool gaps = false;
  } cases[] = {
      {{"m.gguf-split-a", "m.gguf-split-b"}, "m.gguf"},
      {{"m.Q6_K.gguf.part1of2", "m.Q6_K.gguf.part2of2"}, "m.Q6_K.gguf"},
      {{"m.gguf.part1of10", "m.gguf.part2of10", "m.gguf.part10of10"}, "m.gguf", true},
      {{"m.gguf.part-aa", "m.gguf.part-ab", "m.gguf.part-ac"}, "m.gguf"},
      {{"m.gguf.partaa", "m.gguf.partab"}, "m.gguf"},
      {{"m.gguf.part_00", "m.gguf.part_01"}, "m.gguf"},
      {{"m.gguf.part1", "m.gguf.part2", "m.gguf.part3"}, "m.gguf"},
      {{"m.gguf.001", "m.gguf.002"}, "m.gguf"},
      {{"m.gguf.aa", "m.gguf.ab"}, "m.gguf"},
      {{"m.gguf-1-of-2", "m.gguf-2-of-2"}, "m.gguf"},
      {{"M.GGUF.PART1OF2", "M.GGUF.PART2OF2"}, "M.GGUF"},
      {{"model.safetensors.part-00", "model.safetensors.part-01"}, "model.safetensors"},
      {{"pytorch_model.bin.001", "pytorch_model.bin.002"}, "pytorch_model.bin"},
      {{"m.gguf.part2of2"}, "m.gguf", true},
      {{"m.gguf.part-aa", "m.gguf.part-ac"}, "m.gguf", true},
  };
  for (const auto& c : cases) {
    Names all = c.names;
    all.insert(all.end(), {"README.md", "other.gguf.part1of2", "m.gguf.bak"});
    std::ranges::sort(all);
    for (const std::string& name : c.names) {
      const Pieces pieces = PiecesWith(name, all);
      EXPECT_EQ(pieces.whole, c.whole) << name;
      EXPECT_EQ(pieces.files, c.names) << name;
      EXPECT_EQ(pieces.gaps, c.gaps) << name;
    }
  }
}

TEST(Pieces, OtherNamesAreNot) {
  for (const Names& names : std::vector<Names>{
           {"m.gguf"},
           {"m-00001-of-00002.gguf", "m-00002-of-00002.gguf"},
           {"m.gguf.1", "m.gguf.2"},  // downloaded thrice
           {"m.gguf.bak"},
           {"m.gguf.part"},
           {"m.gguf.partial"},
           {"m.gguf.parts"},
           {"m.gguf.sha256", "m.gguf.md5"},
           {"m.gguf.zz"},
           {"model.safetensors.index.json"},
           {".gguf.001", ".gguf.002"},
           {"m.gguf.part3of2"},
           {"notes.001", "notes.002"},
       }) {
    for (const std::string& name : names) EXPECT_TRUE(PiecesWith(name, names).empty()) << name;
  }
}

TEST(Pieces, TheCommandJoinsThem) {
  const TempDir dir;
  const std::string folder = dir / "it's $(here)";
  fs::create_directories(folder);
  const std::string whole = "my model.gguf";
  std::string content;
  for (const char* ending : {".part1of3", ".part2of3", ".part3of3"}) {
    testing::WriteFile(Cat(folder, "/", whole, ending), Cat("x", ending));
    content += Cat("x", ending);
  }
  for (const std::string& named :
       {Cat(folder, "/", whole, ".part1of3"), Cat(folder, "/", whole, ".part3of3"),
        Cat(folder, "/", whole), folder}) {
    const absl::Status status = named == folder ? LocateModel(named).status() : RefusePiece(named);
    const std::string sentence(status.message());
    EXPECT_EQ(CodeOf(status), ErrorCode::kInvalidInput) << named;
    EXPECT_LT(sentence.size(), 400u);
    const size_t begin = sentence.find('`'), end = sentence.rfind('`');
    ASSERT_LT(begin, end) << sentence;
    const std::string command = sentence.substr(begin + 1, end - begin - 1);
    ASSERT_EQ(std::system(Cat("bash -c ", ShellQuoted(command)).c_str()), 0) << command;
    EXPECT_EQ(testing::ReadFile(Cat(folder, "/", whole)), content);
    fs::remove(Cat(folder, "/", whole));
  }
}

TEST(Pieces, ManyAreJoinedByAPattern) {
  const TempDir dir;
  std::string content;
  for (char c = 'a'; c <= 'z'; ++c) {
    testing::WriteFile(dir / Cat("a-model-with-a-long-name.Q8_0.gguf-split-a", std::string(1, c)),
                       std::string(1, c));
    content += c;
  }
  const std::string sentence(
      RefusePiece(dir / "a-model-with-a-long-name.Q8_0.gguf-split-aa").message());
  EXPECT_THAT(sentence, HasSubstr("cat a-model-with-a-long-name.Q8_0.gguf-split-a* > a-model"));
  EXPECT_LT(sentence.size(), 400u);
}

TEST(Unfinished, IsSaid) {
  const TempDir dir;
  for (const char* ending : {".part", ".crdownload", ".incomplete", ".aria2", ".partial"}) {
    const std::string beside = dir / Cat("m.gguf", ending);
    testing::WriteFile(beside, "x");
    EXPECT_THAT(OpenFile(dir / "m.gguf").status().message(),
                AllOf(HasSubstr(Cat("m.gguf", ending)), HasSubstr("download is not finished")));
    EXPECT_THAT(LocateModel(beside).status().message(),
                AllOf(HasSubstr("a download that is not finished"), HasSubstr("m.gguf")));
    fs::remove(beside);
  }
  // aria2 gives the file its name and size at once.
  testing::WriteFile(dir / "m.gguf", "whole?");
  SMELT_EXPECT_OK(OpenFile(dir / "m.gguf"));
  testing::WriteFile(dir / "m.gguf.part", "x");
  SMELT_EXPECT_OK(OpenFile(dir / "m.gguf"));  // it is there already
  testing::WriteFile(dir / "m.gguf.aria2", "x");
  EXPECT_THAT(OpenFile(dir / "m.gguf").status().message(), HasSubstr("m.gguf.aria2"));
  // A conversion's own part.
  testing::WriteFile(dir / "o.gguf.part", "x");
  testing::WriteFile(dir / "o.gguf.part.journal", "x");
  for (const char* name : {"o.gguf", "o.gguf.part"}) {
    const absl::Status status =
        name[6] == 0 ? OpenFile(dir / name).status() : LocateModel(dir / name).status();
    EXPECT_THAT(status.message(), AllOf(HasSubstr("conversion"), HasSubstr("run the same command"),
                                        Not(HasSubstr("download"))));
  }
}

}  // namespace
}  // namespace smelt
