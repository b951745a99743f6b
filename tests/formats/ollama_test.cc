#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "formats/gguf.h"
#include "formats/ollama/manifest.h"
#include "formats/ollama/name.h"
#include "formats/ollama/store.h"
#include "formats/ollama/store_writer.h"
#include "lib/base/fd.h"
#include "lib/base/hash.h"
#include "lib/base/json.h"
#include "lib/base/status.h"
#include "lib/text/spec/base64.h"
#include "tests/testing/testing.h"

namespace smelt::ollama {
namespace {

namespace fs = std::filesystem;
using smelt::testing::ReadFile;
using smelt::testing::TempDir;
using smelt::testing::TestdataPath;
using smelt::testing::WriteFile;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

JsonValue Json(const std::string& path) {
  const absl::StatusOr<JsonValue> value = ParseJsonValue(ReadFile(path), path);
  SMELT_EXPECT_OK(value);
  return value.ok() ? *value : JsonValue();
}

std::string Text(const JsonValue& object, std::string_view key) {
  const JsonValue* value = object.Find(key);
  return value == nullptr ? "" : *value->as_string();
}

void ExpectParts(const JsonValue* expected, const Name& name) {
  EXPECT_EQ(name.host, Text(*expected, "host"));
  EXPECT_EQ(name.space, Text(*expected, "namespace"));
  EXPECT_EQ(name.model, Text(*expected, "model"));
  EXPECT_EQ(name.tag, Text(*expected, "tag"));
}

TEST(OllamaNames, AllVectors) {
  const JsonValue vectors = Json(TestdataPath("ollama/names.json"));
  size_t cases = 0;
  for (const JsonValue& c : *vectors.Find("cases")->as_array()) {
    ++cases;
    SCOPED_TRACE(c.ToText());
    const bool valid = *c.Find("valid")->as_bool();
    if (c.Find("manifest_path") != nullptr) {
      const Name name = NameOfManifest(Text(c, "manifest_path"));
      EXPECT_EQ(name.valid(), valid);
      if (!valid) continue;
      ExpectParts(c.Find("full"), name);
      EXPECT_EQ(name.Short(), Text(c, "short"));
      continue;
    }
    const std::string text =
        c.Find("name_b64") != nullptr ? DecodeBase64(Text(c, "name_b64")).value() : Text(c, "name");
    const Name bare = SplitName(text), full = bare.WithDefaults();
    EXPECT_EQ(full.valid(), valid);
    EXPECT_EQ(ParseName(text).ok(), valid);
    if (!valid) continue;
    ExpectParts(c.Find("bare"), bare);
    ExpectParts(c.Find("full"), full);
    EXPECT_EQ(full.Short(), Text(c, "short"));
    EXPECT_EQ(full.ManifestPath(), Text(c, "path"));
  }
  EXPECT_EQ(cases, 215u);
}

TEST(OllamaSizes, AllVectors) {
  const JsonValue vectors = Json(TestdataPath("ollama/sizes.json"));
  for (const JsonValue& c : *vectors.Find("cases")->as_array()) {
    const uint64_t number = static_cast<uint64_t>(*c.Find("number")->as_int());
    EXPECT_EQ(ParameterText(number), Text(c, "parameters")) << number;
  }
}

TEST(OllamaJson, StringsAsGoWritesThem) {
  EXPECT_EQ(GoJsonString("a<b>&\"\\\n\t\b\f\r\x01\x7f"),
            "\"a\\u003cb\\u003e\\u0026\\\"\\\\\\n\\t\\b\\f\\r\\u0001\x7f\"");
  EXPECT_EQ(GoJsonString("\u2028\u2029\u00e9\xff"), "\"\\u2028\\u2029\u00e9\\ufffd\"");
}

TEST(OllamaManifest, ReadersTakeWhatOthersWrite) {
  const std::string digest = "sha256:" + std::string(64, 'a');
  const auto got = ReadManifest(Cat("  {\"x\":[{}], \"layers\":[{\"size\":7,\"digest\":\"", digest,
                                    "\",\"mediaType\":\"text \\\"}\"}]}  trailing }"),
                                "m");
  SMELT_ASSERT_OK(got);
  ASSERT_EQ(got->layers.size(), 1u);
  EXPECT_EQ(got->layers[0].size, 7u);
  EXPECT_TRUE(got->config.digest.empty());
  EXPECT_FALSE(ReadManifest("", "m").ok());
  EXPECT_FALSE(ReadManifest("\xef\xbb\xbf{}", "m").ok());
  EXPECT_FALSE(ReadManifest("{\"layers\":[{\"size\":7,\"digest\":\"sha256:../../x\"}]}", "m").ok());
}

/// Adds a GGUF as the import job does; files of testdata through a private copy, never by link.
absl::StatusOr<AddedBlob> AddModel(const std::string& store, std::string gguf, const Name& name) {
  const TempDir copies;
  if (gguf.starts_with(TestdataPath(""))) {
    fs::copy_file(gguf, copies / "model.gguf");
    gguf = copies / "model.gguf";
    chmod(gguf.c_str(), 0600);
  }
  SMELT_ASSIGN_OR_RETURN(const GgufFile file, OpenGguf(gguf));
  SMELT_ASSIGN_OR_RETURN(Config config, ConfigOf(file));
  SMELT_ASSIGN_OR_RETURN(StoreWriter writer, StoreWriter::Open(store));
  SMELT_ASSIGN_OR_RETURN(AddedBlob model, writer.AddFile(gguf, nullptr));
  config.layers = {model.digest};
  SMELT_ASSIGN_OR_RETURN(const AddedBlob settings, writer.AddText(WriteConfig(config)));
  Manifest manifest;
  manifest.config = {std::string(kConfigType), settings.digest, settings.size, ""};
  manifest.layers = {{std::string(kModelLayer), model.digest, model.size, ""}};
  SMELT_RETURN_IF_ERROR(writer.PutManifest(name, manifest));
  return model;
}

const char* const kTiny = "ollama/gguf/tiny-f16.gguf";

TEST(OllamaStore, NameLeadsToTheBlob) {
  const TempDir dir;
  const auto added = AddModel(dir / "s", TestdataPath(kTiny), *ParseName("Team/Tiny:V1"));
  SMELT_ASSERT_OK(added);
  for (const char* text : {"Team/Tiny:V1", "team/tiny:v1", "TEAM/TINY:V1"}) {
    const auto path = ResolveStoreName(text, dir / "s");
    SMELT_ASSERT_OK(path);
    EXPECT_EQ(*path, added->path);
  }
  EXPECT_EQ(CodeOf(ResolveStoreName("tiny", dir / "s").status()), ErrorCode::kNotFound);
  EXPECT_EQ(CodeOf(ResolveStoreName("../tiny", dir / "s").status()), ErrorCode::kUsage);

  fs::resize_file(added->path, 100);
  EXPECT_EQ(CodeOf(ResolveStoreName("team/tiny:v1", dir / "s").status()), ErrorCode::kInvalidInput);
  fs::remove(added->path);
  EXPECT_EQ(CodeOf(ResolveStoreName("team/tiny:v1", dir / "s").status()), ErrorCode::kNotFound);
}

TEST(OllamaStore, WhatIsDamagedIsSaid) {
  const TempDir dir;
  const auto added = AddModel(dir / "s", TestdataPath(kTiny), *ParseName("tiny"));
  SMELT_ASSERT_OK(added);
  const auto message = [&] {
    return std::string(ResolveStoreName("tiny", dir / "s").status().message());
  };
  WriteFile(added->path, std::string(added->size, '\0'));
  EXPECT_NE(message().find("damaged"), std::string::npos) << message();
  EXPECT_NE(message().find("pull or import"), std::string::npos) << message();
  for (const char* text : {"", "{", "{}", "<html>"}) {
    WriteFile(ManifestFile(dir / "s", *ParseName("tiny")), text);
    EXPECT_NE(message().find("pull or import"), std::string::npos) << message();
  }
}

TEST(OllamaNames, TooLongIsSaid) {
  for (const char* shape : {"X", "a:X", "X/a"}) {
    std::string name = shape;
    name.replace(name.find('X'), 1, std::string(81, 'x'));
    const absl::Status status = ParseName(name).status();
    EXPECT_NE(std::string(status.message()).find("has 81 letters, at most 80"), std::string::npos)
        << status.message();
  }
}

TEST(OllamaStore, SpellingOfTheStoreWinsPartByPart) {
  const TempDir dir;
  SMELT_ASSERT_OK(AddModel(dir / "s", TestdataPath(kTiny), *ParseName("library/tiny:Q4")));
  EXPECT_EQ(InSpellingOf(dir / "s", *ParseName("team/Tiny:q4")).Short(), "team/tiny:Q4");
  EXPECT_EQ(InSpellingOf(dir / "s", *ParseName("other")).Short(), "other:latest");
  SMELT_ASSERT_OK(AddModel(dir / "s", TestdataPath(kTiny), *ParseName("TINY")));
  EXPECT_EQ(InSpellingOf(dir / "s", *ParseName("tiny")).model, "tiny");  // exact
  EXPECT_EQ(InSpellingOf(dir / "s", *ParseName("Tiny")).model, "TINY");  // the first in byte order
}

TEST(OllamaStore, ListingSkipsWhatIsNoName) {
  const TempDir dir;
  SMELT_ASSERT_OK(AddModel(dir / "s", TestdataPath(kTiny), *ParseName("b")));
  SMELT_ASSERT_OK(AddModel(dir / "s", TestdataPath(kTiny), *ParseName("a")));
  WriteFile(dir / "s/manifests/registry.ollama.ai/library/a/.DS_Store", "x");
  WriteFile(dir / "s/manifests/registry.ollama.ai/file", "x");
  fs::create_symlink("nowhere", dir / "s/manifests/registry.ollama.ai/library/a/dangling");
  std::vector<std::string> names;
  for (const Name& name : ListNames(dir / "s")) names.push_back(name.Short());
  EXPECT_THAT(names, ElementsAre("a:latest", "b:latest"));
}

/// A copy of the smallest model with this mode.
std::string TinyModel(const std::string& path, mode_t mode) {
  fs::copy_file(TestdataPath(kTiny), path);
  chmod(path.c_str(), mode);
  return path;
}

TEST(OllamaStore, BlobIsReadableByAllAndIndependentOfPrivateFiles) {
  const TempDir dir;
  const std::string source = TinyModel(dir / "private.gguf", 0600);
  const auto added = AddModel(dir / "s", source, *ParseName("p"));
  SMELT_ASSERT_OK(added);
  EXPECT_NE(added->how, "hard link");
  struct stat info;
  ASSERT_EQ(stat(added->path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0644u);
  const std::string before = ReadFile(added->path);
  WriteFile(source, "overwritten");
  EXPECT_EQ(ReadFile(added->path), before);
}

TEST(OllamaStore, PlainFilesAreNotCopied) {
  const TempDir dir;
  const std::string source = TinyModel(dir / "m.gguf", 0644);
  const auto added = AddModel(dir / "s", source, *ParseName("p"));
  SMELT_ASSERT_OK(added);
  EXPECT_TRUE(added->how == "hard link" || added->how == "reflink") << added->how;
  EXPECT_EQ(added->how == "hard link", fs::equivalent(source, added->path));
  const auto again = AddModel(dir / "s", source, *ParseName("q"));
  SMELT_ASSERT_OK(again);
  EXPECT_EQ(again->how, "present");
  EXPECT_FALSE(fs::exists(dir / "s/smelt-staging"));
}

TEST(OllamaStore, ReusedBlobsAreTouchedAndDamagedOnesReplaced) {
  const TempDir dir;
  const std::string source = TinyModel(dir / "m.gguf", 0600);
  const auto added = AddModel(dir / "s", source, *ParseName("p"));
  SMELT_ASSERT_OK(added);
  const auto old = fs::file_time_type::clock::now() - std::chrono::hours(5);
  fs::last_write_time(added->path, old);
  SMELT_ASSERT_OK(AddModel(dir / "s", source, *ParseName("p")));
  EXPECT_GT(fs::last_write_time(added->path), old + std::chrono::hours(4));

  std::string damaged = ReadFile(added->path);
  damaged[5000] ^= 1;
  WriteFile(added->path, damaged);
  const auto mended = AddModel(dir / "s", source, *ParseName("p"));
  SMELT_ASSERT_OK(mended);
  EXPECT_NE(mended->how, "present");
  EXPECT_EQ(ReadFile(added->path), ReadFile(source));
}

// A hash that is known is taken for the file that it was of, and for no other at the same path.
TEST(OllamaStore, AKnownHashIsThatOfOneFile) {
  const TempDir dir;
  auto writer = StoreWriter::Open(dir / "s");
  SMELT_ASSERT_OK(writer);
  const std::string path = writer->StagingPath("key").value();
  size_t passes = 0;
  const BlobProgress progress = [&](uint64_t, uint64_t) {
    ++passes;
    return absl::OkStatus();
  };
  const auto adopt = [&](const std::string& content, const std::string& replaced) {
    WriteFile(path, content);
    struct stat info;
    EXPECT_EQ(stat(path.c_str(), &info), 0);
    const FileHash known{.sha256 = Sha256Hex(std::as_bytes(std::span(content))),
                         .identity = IdentityOf(info)};
    if (!replaced.empty()) {
      WriteFile(path + ".new", replaced);
      EXPECT_EQ(rename((path + ".new").c_str(), path.c_str()), 0);
    }
    const auto blob = writer->Adopt(path, known, progress);
    SMELT_EXPECT_OK(blob);
    const std::string text = replaced.empty() ? content : replaced;
    EXPECT_EQ(blob->digest, Cat("sha256:", Sha256Hex(std::as_bytes(std::span(text)))));
    EXPECT_EQ(ReadFile(blob->path), text);
  };
  adopt("one", "");
  EXPECT_EQ(passes, 0u);
  adopt("two", "six");
  EXPECT_EQ(passes, 1u);
}

TEST(OllamaStore, UnusedBlobsGoAndSharedOnesStay) {
  const TempDir dir;
  const std::string store = dir / "s";
  const auto f16 = AddModel(store, TestdataPath(kTiny), *ParseName("a"));
  SMELT_ASSERT_OK(f16);
  const auto old = LoadManifest(store, *ParseName("a"));
  SMELT_ASSERT_OK(old);
  SMELT_ASSERT_OK(AddModel(store, TestdataPath(kTiny), *ParseName("b")));
  const auto q8 = AddModel(store, TestdataPath("ollama/gguf/tiny-q8_0.gguf"), *ParseName("a"));
  SMELT_ASSERT_OK(q8);
  auto writer = StoreWriter::Open(store);
  SMELT_ASSERT_OK(writer);
  writer->RemoveUnused(*old);
  EXPECT_TRUE(fs::exists(f16->path));  // b still has it

  fs::remove_all(store + "/manifests/registry.ollama.ai/library/b");
  const std::string bad = store + "/manifests/registry.ollama.ai/library/a/broken";
  WriteFile(bad, "no manifest");
  writer->RemoveUnused(*old);
  EXPECT_TRUE(fs::exists(f16->path));  // the broken one might name it
  fs::remove(bad);
  writer->RemoveUnused(*old);
  EXPECT_FALSE(fs::exists(f16->path));
  EXPECT_TRUE(fs::exists(q8->path));
}

TEST(OllamaStore, LeftOversOfKilledRunsGoAfterAWhile) {
  const TempDir dir;
  fs::create_directories(dir / "s/smelt-staging");
  WriteFile(dir / "s/smelt-staging/part-abcold", "x");
  WriteFile(dir / "s/smelt-staging/part-abcnew", "x");
  WriteFile(dir / "s/smelt-staging/letter", "not ours");
  for (const char* name : {"part-abcold", "letter"}) {
    fs::last_write_time(dir / Cat("s/smelt-staging/", name),
                        fs::file_time_type::clock::now() - std::chrono::hours(2));
  }
  SMELT_ASSERT_OK(AddModel(dir / "s", TestdataPath(kTiny), *ParseName("a")));
  EXPECT_FALSE(fs::exists(dir / "s/smelt-staging/part-abcold"));
  EXPECT_TRUE(fs::exists(dir / "s/smelt-staging/part-abcnew"));
  EXPECT_TRUE(fs::exists(dir / "s/smelt-staging/letter"));
}

TEST(OllamaStore, InterruptedImportLeavesNothing) {
  const TempDir dir;
  auto writer = StoreWriter::Open(dir / "s");
  SMELT_ASSERT_OK(writer);
  const auto added = writer->AddFile(TestdataPath(kTiny), [](uint64_t, uint64_t) {
    return Error(ErrorCode::kCancelled, "interrupted");
  });
  EXPECT_EQ(CodeOf(added.status()), ErrorCode::kCancelled);
  EXPECT_TRUE(fs::is_empty(dir / "s/blobs"));
  EXPECT_FALSE(fs::exists(dir / "s/smelt-staging"));
  size_t files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(dir / "s"))
    files += entry.is_regular_file();
  EXPECT_EQ(files, 0u);
}

TEST(OllamaStore, EnvironmentChoosesTheStore) {
  const TempDir dir;
  setenv("OLLAMA_MODELS", Cat(" \"", dir / "s", "\" ").c_str(), 1);
  EXPECT_THAT(StoreCandidates(), ElementsAre(dir / "s"));
  const auto writing = StoreForWriting();
  SMELT_ASSERT_OK(writing);
  EXPECT_EQ(*writing, dir / "s");
  const auto added = AddModel(dir / "s", TestdataPath(kTiny), *ParseName("m"));
  SMELT_ASSERT_OK(added);
  const auto found = ResolveModelArgument("m");
  SMELT_ASSERT_OK(found);
  EXPECT_EQ(*found, added->path);
  EXPECT_THAT(std::string(ResolveModelArgument("other").status().message()), HasSubstr(dir / "s"));
  EXPECT_EQ(*ResolveModelArgument(dir.path()), dir.path());
  setenv("OLLAMA_MODELS", "  ", 1);
  setenv("HOME", dir.path().c_str(), 1);
  EXPECT_EQ(StoreCandidates()[0], dir / ".ollama/models");
  unsetenv("OLLAMA_MODELS");
}

}  // namespace
}  // namespace smelt::ollama
