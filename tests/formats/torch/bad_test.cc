// Every pt- entry of testdata/bad, straight against the reader.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "formats/torch/torch.h"
#include "formats/weights_directory.h"
#include "lib/base/json.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::TestdataPath;

struct BadCase {
  std::string id, path, expect;
  std::vector<std::string> mentions, must_not_exist;
};

void PrintTo(const BadCase& c, std::ostream* out) { *out << c.id; }

std::vector<std::string> StringsOf(const JsonValue* list) {
  std::vector<std::string> out;
  if (list == nullptr) return out;
  for (const JsonValue& item : *list->as_array()) out.push_back(*item.as_string());
  return out;
}

std::vector<BadCase> Cases() {
  const std::string path = TestdataPath("bad/MANIFEST.json");
  const absl::StatusOr<JsonValue> manifest = ParseJsonValue(testing::ReadFile(path), path);
  std::vector<BadCase> cases;
  if (!manifest.ok()) return cases;
  for (const JsonValue& entry : *manifest->as_array()) {
    const std::string& id = *entry.Find("id")->as_string();
    if (!id.starts_with("pt-")) continue;
    cases.push_back({id, *entry.Find("path")->as_string(), *entry.Find("expect")->as_string(),
                     StringsOf(entry.Find("mentions")), StringsOf(entry.Find("must_not_exist"))});
  }
  return cases;
}

std::string Lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

class BadTorch : public ::testing::TestWithParam<BadCase> {};

TEST_P(BadTorch, DoesAsAsked) {
  const BadCase& c = GetParam();
  const std::string directory = TestdataPath("bad/" + c.path);
  const absl::StatusOr<Container> got = OpenWeights(directory);
  if (c.expect == "accept") {
    SMELT_ASSERT_OK(got);
    EXPECT_TRUE(got->warnings.empty());
    return;
  }
  ASSERT_FALSE(got.ok());
  std::string sentence(got.status().message());
  for (size_t at; (at = sentence.find(directory)) != std::string::npos;) {
    sentence.erase(at, directory.size());
  }
  EXPECT_LT(sentence.size(), 330u) << sentence;
  for (const char ch : sentence) EXPECT_GE(static_cast<unsigned char>(ch), 32) << sentence;
  // The file is called the same in every entry: its name proves nothing.
  if (sentence.starts_with("/pytorch_model.bin")) sentence.erase(0, 18);
  bool mentioned = false;
  for (const std::string& mention : c.mentions) {
    mentioned |= Lower(sentence).find(Lower(mention)) != std::string::npos;
  }
  EXPECT_TRUE(mentioned) << sentence;
}

std::string TestName(const ::testing::TestParamInfo<BadCase>& info) {
  std::string name = info.param.id;
  for (char& c : name) c = c == '-' ? '_' : c;
  return name;
}

INSTANTIATE_TEST_SUITE_P(Bad, BadTorch, ::testing::ValuesIn(Cases()), TestName);

}  // namespace
}  // namespace smelt
