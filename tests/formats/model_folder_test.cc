// From the folder that is named to the one that holds the model: hub caches, a trainer's output,
// folders of GGUF files.
#include "formats/model_folder.h"

#include <gmock/gmock.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "formats/gguf.h"
#include "lib/base/status.h"
#include "smelt/text.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

namespace fs = std::filesystem;

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::TempDir;

void Put(const TempDir& dir, const std::vector<std::string>& files) {
  for (const std::string& file : files) {
    fs::create_directories(fs::path(dir / file).parent_path());
    testing::WriteFile(dir / file, "x");
  }
}

TEST(ModelFolder, WhatIsMeant) {
  const struct {
    std::string what;
    std::vector<std::string> files;
    std::string name, expected;
  } cases[] = {
      {"the folder itself", {"m/config.json", "m/model.safetensors"}, "m", "m"},
      {"whatever lies in it",
       {"m/config.json", "m/model.safetensors", "m/model.gguf", "m/checkpoint-5/config.json",
        "m/checkpoint-5/model.safetensors"},
       "m",
       "m"},
      {"a file", {"m/model.gguf"}, "m/model.gguf", "m/model.gguf"},
      {"nothing is recognised", {"m/config.json", "m/notes/a.txt"}, "m", "m"},
      {"leftovers of training are no weights",
       {"m/training_args.bin", "m/checkpoint-5/config.json", "m/checkpoint-5/model.safetensors"},
       "m",
       "m/checkpoint-5"},
      {"a trainer's only adapter",
       {"m/checkpoint-5/adapter_config.json", "m/checkpoint-5/adapter_model.safetensors",
        "m/training_args.bin"},
       "m",
       "m/checkpoint-5"},
      {"an adapter itself",
       {"m/adapter_config.json", "m/adapter_model.bin", "m/checkpoint-5/adapter_config.json",
        "m/checkpoint-5/adapter_model.bin"},
       "m",
       "m"},
      {"an adapter beside a configuration is no model",
       {"m/config.json", "m/lora/adapter_config.json", "m/lora/adapter_model.bin"},
       "m",
       "m"},
      {"one snapshot",
       {"h/models--a--b/snapshots/0123/config.json", "h/models--a--b/blobs/x"},
       "h/models--a--b",
       "h/models--a--b/snapshots/0123"},
      {"the cache of one model",
       {"h/models--a--b/snapshots/0123/config.json", "h/models--a--b/blobs/x", "h/.locks/y"},
       "h",
       "h/models--a--b/snapshots/0123"},
      {"the folder of snapshots",
       {"h/models--a--b/snapshots/0123/config.json",
        "h/models--a--b/snapshots/0123/model.safetensors"},
       "h/models--a--b/snapshots",
       "h/models--a--b/snapshots/0123"},
      {"one GGUF", {"m/model.gguf", "m/config.json", "m/README.md"}, "m", "m/model.gguf"},
      {"and in upper case", {"m/MODEL.GGUF"}, "m", "m/MODEL.GGUF"},
      {"beside its projector", {"m/model.gguf", "m/mmproj-model.gguf"}, "m", "m/model.gguf"},
      {"a split one",
       {"m/m-00001-of-00002.gguf", "m/m-00002-of-00002.gguf"},
       "m",
       "m/m-00001-of-00002.gguf"},
      {"a folder in the folder",
       {"m/inner/config.json", "m/inner/model-1-of-2.safetensors"},
       "m",
       "m/inner"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.what);
    const TempDir dir;
    Put(dir, c.files);
    const auto place = LocateModel(dir / c.name);
    SMELT_ASSERT_OK(place);
    EXPECT_EQ(place->path, dir / c.expected);
    EXPECT_EQ(place->note.empty(), c.name == c.expected);
  }
}

TEST(ModelFolder, TheSnapshotThatRefsMainNames) {
  const TempDir dir;
  Put(dir, {"h/snapshots/0123/config.json", "h/snapshots/4567/config.json"});
  EXPECT_THAT(LocateModel(dir / "h").status().message(), HasSubstr("2 snapshots"));
  fs::create_directories(dir / "h/refs");
  testing::WriteFile(dir / "h/refs/main", "4567\n");
  auto place = LocateModel(dir / "h");
  SMELT_ASSERT_OK(place);
  EXPECT_EQ(place->path, dir / "h/snapshots/4567");
  place = LocateModel(dir / "h/snapshots");
  SMELT_ASSERT_OK(place);
  EXPECT_TRUE(fs::equivalent(place->path, dir / "h/snapshots/4567"));
  testing::WriteFile(dir / "h/refs/main", "../../etc");
  EXPECT_THAT(LocateModel(dir / "h").status().message(), HasSubstr("is not there; there is 0123"));
}

TEST(ModelFolder, SeveralAreNamed) {
  const struct {
    std::vector<std::string> files;
    std::vector<std::string> mentions;
  } cases[] = {
      {{"m/checkpoint-500/config.json", "m/checkpoint-500/model.safetensors",
        "m/checkpoint-1000/config.json", "m/checkpoint-1000/model.safetensors"},
       {"checkpoint-500, checkpoint-1000", "such as", "m/checkpoint-1000"}},
      {{"m/a-Q4_0.gguf", "m/a-Q8_0.gguf"}, {"2 GGUF files", "a-Q4_0.gguf", "a-Q8_0.gguf"}},
      {{"m/models--a--b/snapshots/1/x", "m/models--c--d/snapshots/1/x"}, {"models--a--b"}},
  };
  for (const auto& c : cases) {
    const TempDir dir;
    Put(dir, c.files);
    const auto place = LocateModel(dir / "m");
    ASSERT_EQ(CodeOf(place.status()), ErrorCode::kNotFound);
    for (const std::string& mention : c.mentions) {
      EXPECT_THAT(place.status().message(), HasSubstr(mention));
    }
  }
}

/// A GGUF without tensors; a part of a split one where there are several.
std::string SmallGguf(uint16_t number = 0, uint16_t count = 1) {
  Metadata keys;
  if (count > 1) keys.Set("split.no", number), keys.Set("split.count", count);
  const auto layout = SerializeGgufHeader(keys, {});
  EXPECT_TRUE(layout.ok());
  return {reinterpret_cast<const char*>(layout->header.data()), layout->header.size()};
}

/// The word behind "such as", as a shell reads it; empty: there is none.
std::string Suggested(const std::string& sentence) {
  const size_t at = sentence.find("such as ");
  if (at == sentence.npos) return "";
  const std::string command = Cat("printf %s ", sentence.substr(at + 8));
  const std::unique_ptr<FILE, int (*)(FILE*)> shell(
      popen(Cat("bash -c ", ShellQuoted(command)).c_str(), "r"), pclose);
  std::string out(4096, '\0');
  out.resize(std::fread(out.data(), 1, out.size(), shell.get()));
  return out;
}

TEST(ModelFolder, WhatIsSuggestedOpens) {
  const TempDir dir;
  const std::string folder = dir / "a folder's $(name) which is somewhat longer than usual";
  fs::create_directories(folder);
  const auto put = [&](const std::string& name, const std::string& content) {
    testing::WriteFile(Cat(folder, "/", name), content);
  };
  // Pointers, parts of a set that is not whole, projectors: none of them.
  put("a.gguf", SmallGguf());
  put("b.gguf", "version https://git-lfs.github.com/spec/v1\n");
  put("z-00002-of-00003.gguf", SmallGguf(1, 3));
  put("z-00003-of-00003.gguf", SmallGguf(2, 3));
  std::string sentence(LocateModel(folder).status().message());
  EXPECT_EQ(Suggested(sentence), Cat(folder, "/a.gguf")) << sentence;
  EXPECT_LT(sentence.size(), 400u);
  put("a.gguf", "x");
  sentence = std::string(LocateModel(folder).status().message());
  EXPECT_EQ(Suggested(sentence), "") << sentence;
  // Folders: the last checkpoint whose weights are there.
  const TempDir other;
  Put(other, {"m/checkpoint-500/config.json", "m/checkpoint-500/model.safetensors",
              "m/checkpoint-1000/config.json", "m/checkpoint-1000/model-1-of-2.safetensors"});
  sentence = std::string(LocateModel(other / "m").status().message());
  EXPECT_EQ(Suggested(sentence), other / "m/checkpoint-500") << sentence;
  // A path for which there is no room.
  const std::string deep = Cat(other.path(), "/", std::string(200, 'd'));
  fs::create_directories(deep);
  for (const char* name : {"a.gguf", "b.gguf"})
    testing::WriteFile(Cat(deep, "/", name), SmallGguf());
  sentence = std::string(LocateModel(deep).status().message());
  EXPECT_EQ(Suggested(sentence), "") << sentence;
  EXPECT_THAT(sentence, HasSubstr("name one of them"));
  EXPECT_LT(sentence.size(), 400u);
}

TEST(ModelFolder, ASplitWithoutItsFirstPart) {
  const TempDir dir;
  const std::string second = dir / "m-00002-of-00002.gguf";
  testing::WriteFile(second, SmallGguf(1, 2));
  const absl::Status absent = OpenGguf(second).status();
  EXPECT_EQ(CodeOf(absent), ErrorCode::kNotFound);
  EXPECT_THAT(absent.message(),
              AllOf(HasSubstr("the first is missing"), HasSubstr("m-00001-of-00002.gguf"),
                    Not(HasSubstr("name the first"))));
  testing::WriteFile(dir / "m-00001-of-00002.gguf", SmallGguf(0, 2));
  EXPECT_THAT(OpenGguf(second).status().message(),
              AllOf(HasSubstr("name the first: "), HasSubstr("m-00001-of-00002.gguf")));
}

}  // namespace
}  // namespace smelt
