// From the folder that is named to the one that holds the model: hub caches, a trainer's output,
// folders of GGUF files.
#include "formats/model_folder.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <string>
#include <vector>

#include "lib/base/status.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

namespace fs = std::filesystem;

using ::testing::HasSubstr;
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

}  // namespace
}  // namespace smelt
