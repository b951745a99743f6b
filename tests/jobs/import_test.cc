#include "smelt/import.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <vector>

#include "formats/ollama/store.h"
#include "lib/base/status.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::TempDir;
using testing::TestdataPath;

/// A private copy of a small model: imports may link, tests may damage.
std::string Copy(const TempDir& dir, const std::string& name) {
  const std::string to = dir / name;
  fs::copy_file(TestdataPath("ollama/gguf/" + name), to, fs::copy_options::overwrite_existing);
  chmod(to.c_str(), 0644);
  return to;
}

absl::StatusOr<ImportResult> ImportTo(const TempDir& dir, const std::string& file,
                                      const std::string& name) {
  return Import({.file = file, .name = name, .store = dir / "store"});
}

TEST(Import, ModelIsFoundUnderItsName) {
  const TempDir dir;
  const auto result = ImportTo(dir, Copy(dir, "tiny-f16.gguf"), "team/tiny:v1");
  SMELT_ASSERT_OK(result);
  EXPECT_EQ(result->name, "team/tiny:v1");
  EXPECT_EQ(result->bytes, 43104u);
  EXPECT_EQ(result->digest,
            "sha256:11a81ac9297d9fbb40c2ef45bfc6ed22b4adac6dd35657510fa3097bcf23ea1f");
  const auto path = ollama::ResolveStoreName("team/tiny:v1", dir / "store");
  SMELT_ASSERT_OK(path);
  EXPECT_EQ(*path, result->blob);
}

TEST(Import, AFolderWithOneGguf) {
  const TempDir dir;
  fs::create_directories(dir / "m");
  fs::copy_file(TestdataPath("ollama/gguf/tiny-f16.gguf"), dir / "m/a.gguf");
  SMELT_EXPECT_OK(ImportTo(dir, dir / "m", "tiny"));
  fs::copy_file(TestdataPath("ollama/gguf/tiny-f16.gguf"), dir / "m/b.gguf");
  EXPECT_THAT(ImportTo(dir, dir / "m", "tiny").status().message(), HasSubstr("2 GGUF files"));
}

TEST(Import, AnotherSpellingReplacesTheModelAndItsUnusedBlobsGo) {
  const TempDir dir;
  const auto first = ImportTo(dir, Copy(dir, "tiny-f16.gguf"), "Tiny");
  SMELT_ASSERT_OK(first);
  const auto second = ImportTo(dir, Copy(dir, "tiny-q8_0.gguf"), "tiny");
  SMELT_ASSERT_OK(second);
  EXPECT_EQ(second->name, "Tiny:latest");
  EXPECT_EQ(second->manifest, first->manifest);
  EXPECT_FALSE(fs::exists(first->blob));
  EXPECT_TRUE(fs::exists(second->blob));
  EXPECT_EQ(std::distance(fs::directory_iterator(dir / "store/blobs"), fs::directory_iterator()),
            2);
}

TEST(Import, RefusesWhatOllamaCouldNotRun) {
  const TempDir dir;
  const auto message = [&](const std::string& file, const std::string& name) {
    return std::string(ImportTo(dir, file, name).status().message());
  };
  testing::WriteFile(dir / "text.gguf", "no model");
  const std::string model = Copy(dir, "tiny-f16.gguf");
  EXPECT_THAT(message(dir / "text.gguf", "m"), HasSubstr("not a GGUF"));
  const TempDir folder;
  testing::WriteFile(folder / "config.json", "{}");
  EXPECT_THAT(message(folder.path(), "m"), HasSubstr("smelt convert"));
  EXPECT_THAT(message(Copy(dir, "tiny-adapter.gguf"), "m"), HasSubstr("adapter"));
  EXPECT_THAT(message(model, "../m"), HasSubstr("no name for an Ollama model"));
  fs::resize_file(model, 43000);
  EXPECT_THAT(message(model, "m"), HasSubstr("truncated"));
  EXPECT_FALSE(fs::exists(dir / "store"));  // refused before anything was made
}

TEST(Import, ReportsProgressAndStopsWhenAsked) {
  const TempDir dir;
  uint64_t last = 0;
  Observer observer;
  observer.progress = [&](const Progress& progress) { last = progress.done; };
  const std::string file = Copy(dir, "tiny-f16.gguf");
  SMELT_ASSERT_OK(Import({.file = file, .name = "m", .store = dir / "a"}, observer));
  EXPECT_EQ(last, 43104u);
  observer.cancelled = [] { return true; };
  const auto stopped = Import({.file = file, .name = "m", .store = dir / "b"}, observer);
  EXPECT_EQ(CodeOf(stopped.status()), ErrorCode::kCancelled);
  EXPECT_TRUE(fs::is_empty(dir / "b/blobs"));
  EXPECT_FALSE(fs::exists(dir / "b/manifests"));
}

}  // namespace
}  // namespace smelt
