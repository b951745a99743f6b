// Archives that PyTorch's own versions wrote (testdata/torch) against what they read back, and
// those of any other version under SMELT_TORCH_ARCHIVES (see tests/peers/torch_archives.py).
#include <gmock/gmock.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "formats/safetensors.h"
#include "formats/torch/torch.h"
#include "formats/weights_directory.h"
#include "lib/base/json.h"
#include "tests/formats/torch/container_values.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

namespace fs = std::filesystem;

using ::testing::AnyOf;
using ::testing::HasSubstr;
using testing::TestdataPath;

/// One folder of a version, beside the `expected` folder and refused.json.
struct Recorded {
  fs::path folder;

  fs::path root() const { return folder.parent_path(); }
  std::string expected(const std::string& name) const {
    return (root() / "expected" / (name + ".safetensors")).string();
  }
};
void PrintTo(const Recorded& recorded, std::ostream* out) { *out << recorded.folder; }

std::vector<Recorded> AllRecorded() {
  std::vector<std::string> roots = {TestdataPath("torch")};
  if (const char* more = std::getenv("SMELT_TORCH_ARCHIVES")) roots.emplace_back(more);
  std::vector<Recorded> all;
  for (const std::string& root : roots) {
    for (const auto& entry : fs::directory_iterator(root)) {
      if (entry.path().filename().string().starts_with("torch-")) all.push_back({entry.path()});
    }
  }
  std::sort(all.begin(), all.end(),
            [](const Recorded& a, const Recorded& b) { return a.folder < b.folder; });
  return all;
}

/// Paths of the version's archives; `refused` picks those that are no state dict.
std::vector<fs::path> Archives(const Recorded& recorded, bool refused) {
  std::vector<fs::path> paths;
  for (const auto& entry : fs::directory_iterator(recorded.folder)) {
    if (entry.path().extension() != ".pt") continue;
    const std::string name = entry.path().filename().string();
    const bool known = fs::exists(recorded.expected(name.substr(0, name.find('.'))));
    if (known != refused) paths.push_back(entry.path());
  }
  return paths;
}

class RealTorch : public ::testing::TestWithParam<Recorded> {};

TEST_P(RealTorch, GivesWhatTorchReadsBack) {
  const std::vector<fs::path> paths = Archives(GetParam(), false);
  EXPECT_GE(paths.size(), 22u);
  for (const fs::path& path : paths) {
    SCOPED_TRACE(path);
    const std::string name = path.filename().string();
    const auto expected = OpenSafetensors(GetParam().expected(name.substr(0, name.find('.'))));
    SMELT_ASSERT_OK(expected);
    const auto got = OpenTorch(path.string());
    SMELT_ASSERT_OK(got);
    EXPECT_EQ(got->tensors.size(), expected->tensors.size());
    EXPECT_TRUE(got->warnings.empty());
    testing::ExpectSameTensors(*got, *expected);
  }
}

TEST_P(RealTorch, ShardsUnderAnIndex) {
  const auto got = OpenWeights((GetParam().folder / "sharded").string());
  SMELT_ASSERT_OK(got);
  const auto expected = OpenSafetensors(GetParam().expected("module"));
  SMELT_ASSERT_OK(expected);
  EXPECT_EQ(got->tensors.size(), expected->tensors.size());
  testing::ExpectSameTensors(*got, *expected);
}

TEST_P(RealTorch, RefusesTheRestByName) {
  const std::string file = (GetParam().root() / "refused.json").string();
  const auto mentions = ParseJsonValue(testing::ReadFile(file), file);
  SMELT_ASSERT_OK(mentions);
  const std::vector<fs::path> paths = Archives(GetParam(), true);
  EXPECT_GE(paths.size(), 12u);
  for (const fs::path& path : paths) {
    SCOPED_TRACE(path);
    const std::string name = path.filename().string();
    const JsonValue* mention = mentions->Find(name.substr(0, name.find('.')));
    ASSERT_NE(mention, nullptr);
    const std::string sentence(OpenTorch(path.string()).status().message());
    EXPECT_THAT(sentence, HasSubstr(*mention->as_string()));
    if (sentence.find("refuses") != std::string::npos) {
      EXPECT_THAT(sentence, AnyOf(HasSubstr("pickle byte "), HasSubstr("TorchScript")));
    }
  }
}

std::string NameOf(const ::testing::TestParamInfo<Recorded>& info) {
  std::string name = info.param.folder.filename().string() + "_" + std::to_string(info.index);
  std::replace_if(
      name.begin(), name.end(), [](unsigned char c) { return !std::isalnum(c); }, '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Versions, RealTorch, ::testing::ValuesIn(AllRecorded()), NameOf);

}  // namespace
}  // namespace smelt
