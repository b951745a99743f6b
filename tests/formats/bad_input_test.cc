// Every safetensors, index and container-level GGUF entry of testdata/bad, straight against the
// parsers.
#include <gmock/gmock.h>

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "formats/weights_directory.h"
#include "lib/base/json.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::TempDir;
using testing::TestdataPath;

struct BadCase {
  std::string id, path, expect;
  std::vector<std::string> bases, mentions;
  JsonValue setup;
};

void PrintTo(const BadCase& c, std::ostream* out) { *out << c.id; }

std::vector<std::string> StringsOf(const JsonValue* list) {
  std::vector<std::string> out;
  if (list == nullptr) return out;
  for (const JsonValue& item : *list->as_array()) out.push_back(*item.as_string());
  return out;
}

/// Entries whose id begins with `prefix` and whose command is `command`.
std::vector<BadCase> Cases(const std::string& prefix, const std::string& command) {
  const std::string path = TestdataPath("bad/MANIFEST.json");
  const absl::StatusOr<JsonValue> manifest = ParseJsonValue(testing::ReadFile(path), path);
  std::vector<BadCase> cases;
  if (!manifest.ok()) return cases;
  for (const JsonValue& entry : *manifest->as_array()) {
    const std::string& id = *entry.Find("id")->as_string();
    if (!id.starts_with(prefix) || StringsOf(entry.Find("command"))[0] != command) continue;
    BadCase c{.id = id,
              .path = *entry.Find("path")->as_string(),
              .expect = *entry.Find("expect")->as_string(),
              .bases = StringsOf(entry.Find("base")),
              .mentions = StringsOf(entry.Find("mentions")),
              .setup = JsonValue()};
    if (const JsonValue* setup = entry.Find("setup")) c.setup = *setup;
    cases.push_back(std::move(c));
  }
  return cases;
}

/// The complete input under `root`/a/b/, as run_bad.py makes it.
std::string Materialize(const BadCase& c, const std::string& root) {
  namespace fs = std::filesystem;
  const fs::path top = fs::path(root) / "a" / "b";
  fs::create_directories(top);
  const fs::path source = TestdataPath("bad/" + c.path);
  fs::path input;
  if (fs::is_directory(source)) {
    input = top / "model";
    std::vector<fs::path> layers;
    for (const std::string& base : c.bases) layers.emplace_back(TestdataPath("bad/" + base));
    layers.push_back(source);
    for (const fs::path& layer : layers) {
      fs::copy(layer, input, fs::copy_options::recursive | fs::copy_options::overwrite_existing);
    }
  } else {
    input = top / ("model" + source.extension().string());
    fs::copy_file(source, input);
  }
  if (!c.setup.is_array()) return input;
  for (const JsonValue& step : *c.setup.as_array()) {
    const std::string& op = *step.Find("op")->as_string();
    const JsonValue* at = step.Find("path");
    const fs::path path = at == nullptr ? input : input / *at->as_string();
    if (op == "extend") {
      fs::resize_file(path, static_cast<uintmax_t>(*step.Find("size")->as_int()));
    } else if (op == "move") {
      const fs::path to = (input / *step.Find("to")->as_string()).lexically_normal();
      fs::create_directories(to.parent_path());
      fs::rename(path, to);
    } else if (op == "symlink") {
      fs::create_symlink(*step.Find("to")->as_string(), path);
    } else if (op == "remove") {
      fs::remove(path);
    } else {
      ADD_FAILURE() << "unknown setup step " << op;
    }
  }
  return input;
}

std::string Lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

void ExpectMention(const std::string& sentence, const std::vector<std::string>& mentions) {
  for (const std::string& mention : mentions) {
    if (Lower(sentence).find(Lower(mention)) != std::string::npos) return;
  }
  EXPECT_TRUE(mentions.empty()) << sentence;
}

void Judge(const BadCase& c, const std::string& root, const absl::Status& status,
           const std::vector<std::string>& warnings) {
  if (c.expect == "refuse") {
    ASSERT_FALSE(status.ok());
    std::string sentence(status.message());
    EXPECT_LT(sentence.size(), 380u) << sentence;
    for (char ch : sentence) EXPECT_GE(static_cast<unsigned char>(ch), 32) << sentence;
    for (size_t at; (at = sentence.find(root)) != std::string::npos;)
      sentence.erase(at, root.size());
    ExpectMention(sentence, c.mentions);
  } else if (c.expect == "accept" || c.expect == "warn") {
    SMELT_ASSERT_OK(status);
    ASSERT_EQ(warnings.empty(), c.expect == "accept");
    if (c.expect == "warn") ExpectMention(warnings[0], c.mentions);
  }
}

class Safetensors : public ::testing::TestWithParam<BadCase> {};
TEST_P(Safetensors, DoesAsAsked) {
  const TempDir dir;
  const absl::StatusOr<Container> got = OpenSafetensors(Materialize(GetParam(), dir.path()));
  Judge(GetParam(), dir.path(), got.status(),
        got.ok() ? got->warnings : std::vector<std::string>());
}

class Index : public ::testing::TestWithParam<BadCase> {};
TEST_P(Index, DoesAsAsked) {
  const TempDir dir;
  const absl::StatusOr<Container> got = OpenWeights(Materialize(GetParam(), dir.path()));
  Judge(GetParam(), dir.path(), got.status(),
        got.ok() ? got->warnings : std::vector<std::string>());
}

class Gguf : public ::testing::TestWithParam<BadCase> {};
TEST_P(Gguf, DoesAsAsked) {
  const TempDir dir;
  const absl::StatusOr<GgufFile> got = OpenGguf(Materialize(GetParam(), dir.path()));
  Judge(GetParam(), dir.path(), got.status(), {});
}

std::string TestName(const ::testing::TestParamInfo<BadCase>& info) {
  std::string name = info.param.id;
  for (char& c : name) c = c == '-' ? '_' : c;
  return name;
}

INSTANTIATE_TEST_SUITE_P(Bad, Safetensors, ::testing::ValuesIn(Cases("st-", "inspect")), TestName);
INSTANTIATE_TEST_SUITE_P(Bad, Index, ::testing::ValuesIn(Cases("idx-", "convert")), TestName);
INSTANTIATE_TEST_SUITE_P(Bad, Gguf, ::testing::ValuesIn(Cases("gguf-", "inspect")), TestName);
INSTANTIATE_TEST_SUITE_P(BadSplit, Gguf, ::testing::ValuesIn(Cases("gguf-split", "run")), TestName);

}  // namespace
}  // namespace smelt
