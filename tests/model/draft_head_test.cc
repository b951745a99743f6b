// Blocks that guess further tokens: carried along or left out, never run.
#include <gtest/gtest.h>

#include <algorithm>

#include "lib/base/status.h"
#include "lib/model/layer_spec.h"
#include "lib/model/open.h"
#include "tests/model/expected_gguf.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

struct Case {
  std::string folder, architecture;
  uint64_t layers;
};

class DraftHeads : public ::testing::TestWithParam<Case> {
 protected:
  absl::StatusOr<OpenedModel> Open(std::optional<bool> keep) {
    OpenOptions options;
    options.vocabulary = false;
    options.keep_draft = keep;
    return OpenModel(testing::ModelPath(GetParam().folder), options);
  }
  bool HasDraft(const ModelSource& source) const {
    return std::ranges::any_of(source.tensors(), [](const TensorInfo& tensor) {
      return tensor.name.find(".nextn.") != std::string::npos;
    });
  }
  uint64_t Number(const ModelSource& source, std::string_view key) const {
    const MetadataValue* value = source.metadata().Find(Cat(GetParam().architecture, ".", key));
    return value == nullptr ? 0 : value->AsUint().value_or(0);
  }
};

TEST_P(DraftHeads, AreKeptUnlessTheyAreToBeDropped) {
  if (testing::ModelPath(GetParam().folder).empty()) SMELT_REQUIRE_SHARED();
  for (const std::optional<bool> keep : {std::optional<bool>(), std::optional<bool>(true)}) {
    const auto opened = Open(keep);
    SMELT_ASSERT_OK(opened);
    EXPECT_TRUE(HasDraft(*opened->source));
    EXPECT_EQ(Number(*opened->source, "nextn_predict_layers"), 1u);
    EXPECT_EQ(Number(*opened->source, "block_count"), GetParam().layers + 1);
    const auto spec = ReadModelSpec(*opened->source);
    SMELT_ASSERT_OK(spec);
    EXPECT_EQ(spec->layers.size(), GetParam().layers);
  }
  const auto opened = Open(false);
  SMELT_ASSERT_OK(opened);
  EXPECT_FALSE(HasDraft(*opened->source));
  EXPECT_EQ(Number(*opened->source, "nextn_predict_layers"), 0u);
  EXPECT_EQ(Number(*opened->source, "block_count"), GetParam().layers);
  const auto spec = ReadModelSpec(*opened->source);
  SMELT_ASSERT_OK(spec);
  EXPECT_EQ(spec->layers.size(), GetParam().layers);
  EXPECT_TRUE(std::ranges::any_of(opened->notes, [](const std::string& note) {
    return note.find("draft head") != std::string::npos;
  }));
}

// Where a GGUF has no place for them they are left out, unless they are to be kept.
TEST(DraftHeadsWithoutAPlace, AreLeftOutAndSaid) {
  for (const char* name : {"deepseek_v3"}) {
    const std::string folder = testing::ModelPath(name);
    if (folder.empty()) SMELT_REQUIRE_SHARED();
    OpenOptions options;
    options.vocabulary = false;
    const auto opened = OpenModel(folder, options);
    SMELT_ASSERT_OK(opened);
    EXPECT_TRUE(std::ranges::any_of(opened->notes, [](const std::string& note) {
      return note.starts_with("the draft head") && note.find(" parameters, ") != std::string::npos;
    })) << name;
    options.keep_draft = true;
    const auto kept = OpenModel(folder, options);
    ASSERT_FALSE(kept.ok());
    EXPECT_NE(kept.status().message().find("--mtp drop"), std::string::npos) << kept.status();
  }
}

INSTANTIATE_TEST_SUITE_P(Families, DraftHeads,
                         ::testing::Values(Case{"qwen3_5", "qwen35", 8},
                                           Case{"qwen3_5_moe", "qwen35moe", 4},
                                           Case{"qwen3_next", "qwen3next", 5}),
                         [](const auto& info) { return info.param.folder; });

}  // namespace
}  // namespace smelt
