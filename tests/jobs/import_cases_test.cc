// What a real Ollama made of models and Modelfiles, file by file (testdata/ollama).
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <filesystem>
#include <regex>
#include <span>
#include <string>
#include <vector>

#include "lib/base/hash.h"
#include "lib/base/json.h"
#include "lib/base/status.h"
#include "smelt/import.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

namespace fs = std::filesystem;
using ::testing::ContainsRegex;
using testing::ReadFile;
using testing::TempDir;
using testing::TestdataPath;
using testing::WriteFile;

/// The chat template and the stop words that Ollama adds to tiny-chatml.gguf by itself.
constexpr char kChatmlText[] =
    "\nTEMPLATE \"\"\"{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n"
    "{{ end }}<|im_start|>assistant\n\"\"\"\n"
    "PARAMETER stop <|im_start|>\nPARAMETER stop <|im_end|>\n";

JsonValue JsonOf(const fs::path& path) {
  return ParseJsonValue(ReadFile(path.string()), path.string()).value();
}

std::string Text(const JsonValue& object, std::string_view key) {
  const JsonValue* value = object.Find(key);
  return value == nullptr ? "" : *value->as_string();
}

/// A folder with all small models, private copies, and the case's Modelfiles.
void Prepare(const fs::path& folder, const std::string& to) {
  for (const fs::path& from : {fs::path(TestdataPath("ollama/gguf")), folder}) {
    for (const auto& entry : fs::directory_iterator(from)) {
      if (!entry.is_regular_file()) continue;
      const std::string copy = Cat(to, "/", entry.path().filename().string());
      fs::copy_file(entry.path(), copy);
      chmod(copy.c_str(), 0644);
    }
  }
}

/// What the model's file was called on the way into the store is nobody's business.
std::string WithoutUploads(const std::string& manifest) {
  static const std::regex kUpload(",\"from\":\"/[^\"]*\"");
  return std::regex_replace(manifest, kUpload, "");
}

void ExpectSameFile(const std::string& ours, const fs::path& theirs, const JsonValue& observed) {
  struct stat info;
  ASSERT_EQ(stat(ours.c_str(), &info), 0) << ours;
  EXPECT_EQ(info.st_mode & 0777, S_ISDIR(info.st_mode) ? 0755u : 0644u) << ours;
  if (S_ISDIR(info.st_mode)) return;
  const std::string content = ReadFile(ours);
  if (ours.find("/manifests/") != std::string::npos) {
    EXPECT_EQ(content, WithoutUploads(ReadFile(theirs.string())));
  } else {
    EXPECT_EQ(Sha256Hex(std::as_bytes(std::span(content))), Text(observed, "sha256"));
  }
}

TEST(ImportCases, EveryFileAsOllamaMakesIt) {
  size_t cases = 0;
  for (const auto& folder : fs::directory_iterator(TestdataPath("ollama"))) {
    if (!fs::exists(folder.path() / "case.json")) continue;
    SCOPED_TRACE(folder.path().filename());
    ++cases;
    const TempDir dir;
    Prepare(folder.path(), dir.path());
    const JsonValue description = JsonOf(folder.path() / "case.json");
    for (const JsonValue& step : *description.Find("steps")->as_array()) {
      const std::string file = dir / Text(step, "modelfile");
      if (ReadFile(file).find("tiny-chatml.gguf") != std::string::npos) {
        WriteFile(file, ReadFile(file) + kChatmlText);
      }
      SMELT_ASSERT_OK(Import({.source = {},
                              .name = Text(step, "create"),
                              .store = dir / "store",
                              .modelfile = file,
                              .adapter_layer = true}));
    }
    const fs::path version = folder.path() / "0.6.5";
    const JsonValue observed = JsonOf(version / "observed.json");
    const JsonValue::Object& files = *observed.Find("files")->as_object();
    for (const auto& [path, file] : files) {
      ExpectSameFile(Cat(dir / "store", "/", path), version / "store" / path, file);
    }
    size_t count = 0;
    for ([[maybe_unused]] const auto& entry : fs::recursive_directory_iterator(dir / "store"))
      ++count;
    EXPECT_EQ(count, files.size());  // nothing else
  }
  EXPECT_EQ(cases, 22u);
}

TEST(ImportCases, WhatOllamaRefusesIsRefused) {
  const fs::path folder = TestdataPath("ollama/20_bad");
  const JsonValue errors = JsonOf(folder / "errors.json");
  size_t refused = 0;
  for (const auto& [key, entry] : *errors.as_object()) {
    const JsonValue* modelfile = entry.Find("modelfile");
    if (modelfile->as_string() == nullptr) continue;
    SCOPED_TRACE(key);
    const TempDir dir;
    Prepare(folder, dir.path());
    WriteFile(dir / "notes.txt", "plain text\n");
    WriteFile(dir / "text.gguf", "plain text\n");
    WriteFile(dir / "cut.gguf", ReadFile(dir / "tiny-f16.gguf").substr(0, 5000));
    WriteFile(dir / "zero.gguf", "");
    fs::create_directory(dir / "none");
    ImportOptions options = {.source = {},
                             .name = Text(entry, "name"),
                             .store = dir / "store",
                             .modelfile = dir / *modelfile->as_string()};
    const JsonValue::Array& arguments = *entry.Find("arguments")->as_array();
    if (!arguments.empty()) {  // -q TYPE
      options.conversion.type = *arguments.at(1).as_string();
      options.convert_ggufs = true;
    }
    const absl::Status status = Import(options).status();
    ASSERT_FALSE(status.ok());
    ++refused;
    EXPECT_FALSE(fs::exists(dir / "store"));
    const std::string& theirs =
        *entry.Find("by_version")->Find("0.32.15")->Find("error")->as_string();
    std::smatch line;
    if (std::regex_search(theirs, line, std::regex("\\(line ([0-9]+)\\)"))) {
      EXPECT_THAT(std::string(status.message()),
                  ContainsRegex(Cat("line ", line[1].str(), "[^0-9]")));
    }
  }
  EXPECT_EQ(refused, 29u);
}

}  // namespace
}  // namespace smelt
