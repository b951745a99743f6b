// Configurations, weights and GGUF models of testdata/bad, straight against OpenModel and
// ReadModelSpec.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <set>

#include "formats/model_card.h"
#include "lib/base/json.h"
#include "lib/base/status.h"
#include "lib/model/layer_spec.h"
#include "lib/model/open.h"
#include "tests/testing/bad_cases.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

namespace fs = std::filesystem;
using testing::BadCase;

// Judged elsewhere: values that only an output type cannot hold, and the tokenizer's keys.
const std::set<std::string> kOfOtherRooms = {
    "weights-outlier-q8_0",   "weights-outlier-f16", "gguf-tokens-numbers", "gguf-no-tokens",
    "gguf-token-types-short", "gguf-scores-short",   "gguf-token-type-99",  "gguf-bos-outside"};

std::vector<BadCase> Cases(std::initializer_list<std::string_view> prefixes,
                           std::string_view command) {
  std::vector<BadCase> cases = testing::BadCases(prefixes, command);
  std::erase_if(cases, [](const BadCase& c) { return kOfOtherRooms.contains(c.id); });
  return cases;
}

/// Opens, describes to the engine and reads every value.
absl::Status ReadAll(const std::string& path) {
  OpenOptions options;
  options.vocabulary = false;
  SMELT_ASSIGN_OR_RETURN(const OpenedModel opened, OpenModel(path, options));
  SMELT_ASSIGN_OR_RETURN(const ModelSpec spec, ReadModelSpec(*opened.source));
  for (size_t i = 0; i < opened.source->tensors().size(); ++i) {
    const Shape& shape = opened.source->tensors()[i].shape;
    std::vector<float> values(shape.elements());
    SMELT_RETURN_IF_ERROR(opened.source->ReadRows(i, 0, shape.rows(), values.data()));
  }
  return absl::OkStatus();
}

class BadModel : public ::testing::TestWithParam<BadCase> {};

TEST_P(BadModel, IsJudgedAsTheManifestAsks) {
  const testing::TempDir dir;
  const absl::Status status = ReadAll(testing::Materialize(GetParam(), dir.path()));
  const std::string& expect = GetParam().expect;
  if (expect == "accept") {
    SMELT_EXPECT_OK(status);
  } else if (expect != "either" || !status.ok()) {
    testing::ExpectRefused(GetParam(), status, {dir.path()});
  }
}

INSTANTIATE_TEST_SUITE_P(Directories, BadModel,
                         ::testing::ValuesIn(Cases({"cfg-", "weights-"}, "convert")),
                         testing::BadCaseName);
INSTANTIATE_TEST_SUITE_P(GgufFiles, BadModel, ::testing::ValuesIn(Cases({"gguf-"}, "run")),
                         testing::BadCaseName);

/// A model that opens, and the warnings of opening it with `make` called on its folder.
template <typename Make>
std::vector<std::string> WarningsWith(const Make& make) {
  const testing::TempDir dir;
  const fs::path folder = fs::path(dir.path()) / "model";
  for (const char* part : {"bad/base/config", "bad/base/weights"})
    fs::copy(testing::TestdataPath(part), folder, fs::copy_options::recursive);
  make(folder);
  OpenOptions options;
  options.vocabulary = false;
  const absl::StatusOr<OpenedModel> opened = OpenModel(folder, options);
  EXPECT_EQ(testing::GetStatus(opened).ToString(), "OK");
  return opened.ok() ? opened->warnings : std::vector<std::string>();
}

TEST(SideFiles, ThoseThatCannotBeReadAreLeftOutWithAWarning) {
  const std::vector<std::string> none = WarningsWith([](const fs::path&) {});
  for (const char* name : {"README.md", "generation_config.json"}) {
    for (const std::string_view kind : {"link", "fifo", "folder", "device"}) {
      const std::vector<std::string> warnings = WarningsWith([&](const fs::path& folder) {
        if (kind == "link") fs::create_symlink("nowhere", folder / name);
        if (kind == "fifo") {
          ASSERT_EQ(mkfifo((folder / name).c_str(), 0600), 0);
        }
        if (kind == "folder") fs::create_directory(folder / name);
        if (kind == "device") fs::create_symlink("/dev/zero", folder / name);
      });
      ASSERT_EQ(warnings.size(), none.size() + 1) << name << " " << kind;
      EXPECT_TRUE(std::any_of(warnings.begin(), warnings.end(),
                              [&](const std::string& w) { return w.starts_with(name); }))
          << name << " " << kind;
    }
  }
}

TEST(ModelCard, FrontMatterBeyondTheLimitsIsRefusedAtOnce) {
  const auto repeated = [](std::string_view part, int times) {
    std::string out = "---\nlicense: mit\nx: ";
    for (int i = 0; i < times; ++i) out += part;
    return out + "\n---\n";
  };
  std::string anchors = "---\nx:\n";
  for (int i = 0; i < 60000; ++i) anchors += Cat("- &a", i, " b\n");
  std::string directives = "---\n";
  for (int i = 0; i < 60000; ++i) directives += Cat("%TAG !a", i, "! x\n");
  const auto start = std::chrono::steady_clock::now();
  for (const std::string& card :
       {repeated("[", 100000), repeated("{", 100000), repeated("- ", 100000),
        repeated("? ", 100000), repeated("[\n", 100000), repeated("a", 3 << 20), anchors + "---\n",
        directives + "---\n"}) {
    const auto parsed = ParseModelCard(card);
    EXPECT_EQ(CodeOf(parsed.status()), ErrorCode::kInvalidInput) << card.substr(0, 40);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
}

TEST(ModelCard, LongTablesOfResultsAreRead) {
  std::string card = "---\nlicense: mit\nmodel-index:\n- name: m\n  results:\n";
  for (int i = 0; i < 3000; ++i)
    card +=
        Cat("  - dataset:\n      name: d", i, "\n    metrics:\n    - type: f1\n      value: 7\n");
  const auto parsed = ParseModelCard(card + "---\n# m\n");
  SMELT_ASSERT_OK(parsed);
  EXPECT_EQ(*(**parsed).Find("license")->as_string(), "mit");
}

}  // namespace
}  // namespace smelt
