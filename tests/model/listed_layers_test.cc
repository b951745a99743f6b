// Layers that differ by a list or a pattern of the configuration: folders of upstream's models,
// with a member of config.json taken out or put in.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>

#include "lib/base/status.h"
#include "lib/model/layer_spec.h"
#include "lib/model/open.h"
#include "tests/model/expected_gguf.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

/// The folder's files under `to`, config.json without the members `without` and with those of
/// `with`
/// ("\"a\":1,").
void CopyFolder(const std::string& from, const std::string& to,
                const std::vector<std::string>& without, const std::string& with) {
  for (const auto& entry : std::filesystem::directory_iterator(from)) {
    if (entry.path().filename() != "config.json")
      std::filesystem::create_symlink(entry.path(),
                                      std::filesystem::path(to) / entry.path().filename());
  }
  std::ifstream in(from + "/config.json");
  std::stringstream text;
  text << in.rdbuf();
  std::string config = text.str();
  for (const std::string& key : without) {
    const std::regex member("\"" + key + R"("\s*:\s*(\[[^\]]*\]|[^,\[\]{}]*),)");
    ASSERT_TRUE(std::regex_search(config, member)) << key;
    config = std::regex_replace(config, member, "");
  }
  config.insert(config.find('{') + 1, with);
  std::ofstream(to + "/config.json") << config;
}

absl::StatusOr<OpenedModel> OpenListed(const std::string& folder) {
  OpenOptions options;
  options.vocabulary = false;
  return OpenModel(folder, options);
}

TEST(ListedLayers, AListIsEnoughWithoutTheirNumber) {
  for (const std::string name : {"nemotron_h", "nemotron_h_moe"}) {
    if (testing::ModelPath(name).empty()) SMELT_REQUIRE_SHARED();
    const auto whole = OpenListed(testing::ModelPath(name));
    SMELT_ASSERT_OK(whole);
    const testing::TempDir dir;
    CopyFolder(testing::ModelPath(name), dir.path(), {"num_hidden_layers"}, "");
    const auto listed = OpenListed(dir.path());
    SMELT_ASSERT_OK(listed);
    ASSERT_EQ(listed->source->tensors().size(), whole->source->tensors().size()) << name;
    for (size_t i = 0; i < whole->source->tensors().size(); ++i)
      EXPECT_EQ(listed->source->tensors()[i].name, whole->source->tensors()[i].name);
    const auto spec = ReadModelSpec(*listed->source), expected = ReadModelSpec(*whole->source);
    SMELT_ASSERT_OK(spec);
    SMELT_ASSERT_OK(expected);
    EXPECT_EQ(spec->layers.size(), expected->layers.size()) << name;
  }
}

/// 'W' a layer with a window and rotation, '-' one without both, '?' anything else.
std::string Kinds(const ModelSource& source) {
  std::string kinds;
  const auto spec = ReadModelSpec(source);
  SMELT_EXPECT_OK(spec);
  if (!spec.ok()) return kinds;
  for (const LayerSpec& layer : spec->layers) {
    const Attention& attention = std::get<Attention>(layer.mixer);
    const bool window = attention.window != 0, rotates = attention.rope.style != RopeStyle::kNone;
    kinds += window && rotates ? 'W' : !window && !rotates ? '-' : '?';
  }
  return kinds;
}

// As transformers' Exaone4Config and Exaone4Attention have it: with a sliding_window, layers
// without one of their own do not rotate, be there others or not.
TEST(ListedLayers, WindowsOfExaone4) {
  if (testing::ModelPath("exaone4").empty()) SMELT_REQUIRE_SHARED();
  const auto opened = OpenListed(testing::ModelPath("exaone4"));
  SMELT_ASSERT_OK(opened);
  const size_t layers = ReadModelSpec(*opened->source)->layers.size();
  std::string full, by_two, by_four;
  for (size_t i = 0; i < layers; ++i) {
    full += i == 0 ? "\"full_attention\"" : ",\"full_attention\"";
    by_two += i % 2 == 1 ? '-' : 'W';
    by_four += i % 4 == 3 ? '-' : 'W';
  }
  const std::pair<std::string, std::string> cases[] = {
      {"", by_four},
      {R"("sliding_window_pattern":4,)", by_four},
      {R"("sliding_window_pattern":"LLLG",)", by_four},
      {R"("sliding_window_pattern":2,)", by_two},
      {R"("sliding_window_pattern":1,)", std::string(layers, '-')},
      {Cat("\"layer_types\":[", full, "],\"sliding_window_pattern\":2,"), std::string(layers, '-')},
  };
  for (const auto& [with, kinds] : cases) {
    const testing::TempDir dir;
    CopyFolder(testing::ModelPath("exaone4"), dir.path(), {"layer_types", "sliding_window_pattern"},
               with);
    const auto edited = OpenListed(dir.path());
    SMELT_ASSERT_OK(edited);
    EXPECT_EQ(Kinds(*edited->source), kinds) << with;
  }
  const testing::TempDir dir;
  CopyFolder(testing::ModelPath("exaone4"), dir.path(), {"layer_types", "sliding_window_pattern"},
             R"("sliding_window_pattern":"LG",)");
  const auto refused = OpenListed(dir.path());
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(std::string(refused.status().message()).find("sliding_window_pattern"),
            std::string::npos);
}

}  // namespace
}  // namespace smelt
