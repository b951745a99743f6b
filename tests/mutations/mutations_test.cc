// A drawn part of the mutants of testdata, against what upstream says of them: recorded in
// testdata/mutations by tests/peers/mutations.py, which goes through all of them.
#include <algorithm>
#include <filesystem>
#include <map>

#include "lib/base/json.h"
#include "smelt/convert.h"
#include "tests/mutations/subject.h"
#include "tests/testing/conversions.h"
#include "tests/testing/testing.h"

namespace smelt::testing {
namespace {

namespace fs = std::filesystem;

/// What upstream says of the mutants of one file, by their ids.
using Recorded = std::map<std::string, std::string>;

std::map<std::string, Recorded> ReadRecord(const std::string& kind) {
  const std::string path = TestdataPath("mutations/" + kind + ".json");
  std::map<std::string, Recorded> record;
  const auto json = ParseJsonValue(ReadFile(path), path);
  if (!json.ok()) return record;
  for (const auto& [file, mutants] : *json->as_object()) {
    for (const auto& [id, said] : *mutants.as_object()) record[file][id] = *said.as_string();
  }
  return record;
}

struct Counts {
  size_t mutants = 0, refused = 0, same = 0, noted = 0, upstream = 0;
  void Print(const std::string& kind) const {
    std::printf("%s: %zu mutants: %zu refused, %zu as the original, %zu noted, %zu as upstream\n",
                kind.c_str(), mutants, refused, same, noted, upstream);
  }
};

class Mutations : public ::testing::Test {
 protected:
  /// Reads the drawn mutants of a file. `as_upstream(id, outcome)`: whether upstream has the same.
  template <typename AsUpstream>
  void Visit(const std::string& kind, const std::string& name, const std::string& path,
             const AsUpstream& as_upstream) {
    const TempDir work;
    const std::string place = work / "model";
    fs::create_directory(place);
    const auto made = Subject::Make(kind, path, place);
    ASSERT_TRUE(made.ok()) << path << ": " << made.status();
    const Subject& subject = **made;
    for (size_t i = 0; i < subject.mutants().size(); ++i) {
      const std::string& id = subject.mutants().Id(i);
      if (!IsDrawn(kind, name, id)) continue;
      const Outcome outcome = subject.Read(subject.mutants().Bytes(i));
      ++counts_.mutants;
      switch (subject.Judge(outcome, subject.mutants().Member(i))) {
        case Verdict::kRefused:
          ++counts_.refused;
          break;
        case Verdict::kSame:
          ++counts_.same;
          break;
        case Verdict::kNoted:
          ++counts_.noted;
          break;
        case Verdict::kOther:
          ++counts_.upstream;
          EXPECT_TRUE(as_upstream(subject, id, outcome))
              << path << ", " << id << ": another result, and upstream has it not";
          break;
        case Verdict::kBad:
          ADD_FAILURE() << path << ", " << id << ": " << outcome.status;
      }
    }
  }

  Counts counts_;
};

std::vector<std::string> Files(const std::vector<std::string>& rooms, const std::string& name) {
  std::vector<std::string> files;
  for (const std::string& room : rooms) {
    for (const fs::directory_entry& entry : fs::directory_iterator(TestdataPath(room))) {
      if (fs::exists(entry.path() / name)) files.push_back((entry.path() / name).string());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

/// "models/llama" of a file below testdata.
std::string FolderOf(const std::string& path) {
  return fs::relative(fs::path(path).parent_path(), TestdataPath("")).string();
}

TEST_F(Mutations, OfTokenizers) {
  const auto record = ReadRecord("tokenizer");
  ASSERT_FALSE(record.empty());
  for (const std::string& path : Files({"models", "tokenizers-small"}, "tokenizer.json")) {
    const auto of_file = record.find(FolderOf(path));
    Visit("tokenizer", FolderOf(path), path,
          [&](const Subject&, const std::string& id, const Outcome& outcome) {
            if (of_file == record.end()) return false;
            const auto said = of_file->second.find(id);
            return said != of_file->second.end() && said->second == Fingerprint(outcome.result);
          });
  }
  counts_.Print("tokenizer.json");
  EXPECT_GT(counts_.mutants, 1500u);
}

/// The document with the value that upstream's class has means the same.
void VisitConfigurations(const std::string& kind, const auto& visit) {
  const auto record = ReadRecord(kind);
  ASSERT_FALSE(record.empty());
  for (const std::string& path : Files({"models"}, kind + ".json")) {
    const auto of_file = record.find(FolderOf(path));
    visit(path, [&](const Subject& subject, const std::string& id, const Outcome& outcome) {
      if (of_file == record.end()) return false;
      const auto said = of_file->second.find(id);
      return said != of_file->second.end() && subject.Read(said->second).result == outcome.result;
    });
  }
}

/// Folders whose class is in no version of transformers: nobody says what a default of it is.
bool HasNoUpstreamClass(const std::string& folder) { return folder == "models/internlm2"; }

TEST_F(Mutations, OfConfigurations) {
  VisitConfigurations("config", [&](const std::string& path, const auto& as_upstream) {
    const bool alone = HasNoUpstreamClass(FolderOf(path));
    Visit("config", FolderOf(path), path,
          [&](const Subject& subject, const std::string& id, const Outcome& outcome) {
            return alone || as_upstream(subject, id, outcome);
          });
  });
  counts_.Print("config.json");
  EXPECT_GT(counts_.mutants, 500u);
}

TEST_F(Mutations, OfGenerationConfigurations) {
  VisitConfigurations("generation_config", [&](const std::string& path, const auto& as_upstream) {
    Visit("generation_config", FolderOf(path), path, as_upstream);
  });
  counts_.Print("generation_config.json");
  EXPECT_GT(counts_.mutants, 100u);
}

TEST_F(Mutations, OfIndexes) {
  const auto never = [](const Subject&, const std::string&, const Outcome&) { return false; };
  SMELT_REQUIRE_SHARED();
  Visit("index", "", SharedPath("fixtures/models/llama/model.safetensors.index.json"), never);
  counts_.Print("index");
  EXPECT_GT(counts_.mutants, 50u);
}

/// An architecture's number in the place of another one; or the scale of attention, which is 1 over
/// the root of the head size wherever it is absent.
bool IsNumberOfKey(const std::string& id) {
  if (id.ends_with(".attention.scale delete")) return true;
  return !id.starts_with("tokenizer.") &&
         (id.ends_with(" integer") || id.ends_with(" fraction") || id.ends_with(" empty"));
}

/// Another result is right only where llama.cpp reads the same ids, or where a number is the number
/// that the file says.
TEST_F(Mutations, OfGgufKeys) {
  const auto record = ReadRecord("gguf");
  ASSERT_FALSE(record.empty());
  for (const char* model : {"llama", "llama-spm", "gemma2", "mamba2", "jamba"}) {
    const TempDir work;
    ConvertOptions options = testing::UncheckedConversion(
        TestdataPath(std::string("models/") + model), work / "model.gguf", "f16");
    SMELT_ASSERT_OK(Convert(options));
    const auto of_file = record.find(std::string("models/") + model);
    Visit("gguf", std::string("models/") + model, options.output,
          [&](const Subject&, const std::string& id, const Outcome& outcome) {
            if (IsNumberOfKey(id)) return true;
            if (of_file == record.end()) return false;
            const auto said = of_file->second.find(id);
            return said != of_file->second.end() && said->second == Fingerprint(outcome.ids);
          });
  }
  counts_.Print("GGUF");
  EXPECT_GT(counts_.mutants, 300u);
}

}  // namespace
}  // namespace smelt::testing
