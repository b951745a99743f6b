// The tables of every family: a key of config.json that has one right value is refused at any
// other, and a hyperparameter that is no number, or out of its range; by its name.
#include <gtest/gtest.h>

#include <filesystem>
#include <regex>
#include <set>

#include "lib/base/cat.h"
#include "lib/base/json.h"
#include "lib/model/alternatives.h"
#include "lib/model/choose_family.h"
#include "lib/model/family.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

std::string FirstKey(std::string_view keys) { return std::string(Alternatives(keys)[0]); }

/// What reading hyperparameters says of a configuration that has what the class requires, and `key`
/// with `value`.
absl::Status ReadWith(const Family& family, const std::string& key, const std::string& value) {
  std::string text = Cat("{\"", key, "\":", value);
  for (const HyperRule& rule : family.hypers) {
    const std::string own = FirstKey(rule.config);
    if (rule.fallback.kind == Fallback::Kind::kRequired && own != key)
      text += Cat(",\"", own, "\":8");
  }
  const auto json = ParseJsonValue(text + "}", "config.json");
  if (!json.ok()) return json.status();
  const Config config(*json, "config.json");
  const Container container;
  return ReadHyper(family, config, container, nullptr, std::nullopt).status();
}

void ExpectNamed(const Family& family, std::string_view keys, const std::string& value) {
  const std::string key = FirstKey(keys);
  const absl::Status status = ReadWith(family, key, value);
  EXPECT_FALSE(status.ok()) << family.names[0] << ": " << key << " " << value;
  EXPECT_NE(status.message().find(key), std::string::npos)
      << family.names[0] << ": " << key << " " << value << ": " << status.message();
}

TEST(ConfigTables, FixedKeysRefuseOtherValues) {
  for (const Family* family : KnownFamilies()) {
    for (const FixedRule& rule : family->fixed) ExpectNamed(*family, rule.config, "\"another\"");
  }
}

TEST(ConfigTables, HyperparametersRefuseWhatIsNoNumberOrOutOfRange) {
  for (const Family* family : KnownFamilies()) {
    for (const HyperRule& rule : family->hypers) {
      ExpectNamed(*family, rule.config, "\"another\"");
      if (rule.kind == HyperKind::kFlag) continue;
      ExpectNamed(*family, rule.config, Cat(rule.high * 2));
      if (rule.low > 0) ExpectNamed(*family, rule.config, "0");
      if (rule.low > -1) ExpectNamed(*family, rule.config, "-1");
    }
  }
}

/// Classes of which the peers' scripts draw configurations.
std::set<std::string> DrawnClasses() {
  std::set<std::string> classes;
  for (const char* script : {"transformers_random.py", "transformers_state_space.py"}) {
    const std::string text =
        testing::ReadFile(testing::TestdataPath(Cat("../tests/peers/", script)));
    // A row: (draw, "model_type", "class", "tokenizer").
    static const std::regex kRow(R"re(\(\w+, "[^"]+", "([^"]+)", "[^"]+"\))re");
    for (std::sregex_iterator row(text.begin(), text.end(), kRow), end; row != end; ++row)
      classes.insert((*row)[1]);
  }
  return classes;
}

/// Classes of the folders of which it is known what transformers computes.
std::set<std::string> RecordedClasses() {
  std::set<std::string> classes;
  for (const std::string& root :
       {testing::TestdataPath("models"), testing::SharedPath("fixtures/models")}) {
    for (const auto& folder : std::filesystem::directory_iterator(root)) {
      const std::string config = folder.path() / "config.json";
      if (!std::filesystem::exists(config) || !exists(folder.path() / "golden.json")) continue;
      const auto parsed = Config::Parse(testing::ReadFile(config), config);
      SMELT_EXPECT_OK(parsed);
      const auto names = parsed->Texts("architectures");
      SMELT_EXPECT_OK(names);
      classes.insert(names->begin(), names->end());
    }
  }
  return classes;
}

// What `smelt families` says of how a class is checked.
TEST(CheckedColumn, IsWhatThereIs) {
  if (!std::filesystem::exists(testing::SharedPath("fixtures/models"))) SMELT_REQUIRE_SHARED();
  const std::set<std::string> drawn = DrawnClasses(), recorded = RecordedClasses();
  ASSERT_GT(drawn.size(), 60u);
  for (const Family* family : KnownFamilies()) {
    const auto any = [&](const std::set<std::string>& classes) {
      return std::ranges::any_of(family->names, [&](std::string_view name) {
        return classes.contains(std::string(name));
      });
    };
    std::string expected = any(recorded) ? "recorded" : "";
    if (any(drawn)) expected += expected.empty() ? "drawn" : ", drawn";
    EXPECT_EQ(family->checked, expected) << family->names[0];
  }
}

}  // namespace
}  // namespace smelt
