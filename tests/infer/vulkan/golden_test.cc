// A device against what transformers recorded. With SMELT_EVERY_MODEL in the environment every
// recorded model is asked for its texts and perplexities, which takes long on Mesa's software
// device; else some are.
#include <gtest/gtest.h>

#include <cstdlib>
#include <iterator>
#include <vector>

#include "infer/score.h"
#include "lib/model/open.h"
#include "tests/infer/vulkan/vulkan_testing.h"
#include "tests/model/expected_gguf.h"
#include "tests/model/fixture_models.h"
#include "tests/model/golden_model.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::kVulkan;

bool WantsEveryModel() { return std::getenv("SMELT_EVERY_MODEL") != nullptr; }

std::vector<std::string> EveryModelOr(std::vector<std::string> some) {
  if (!WantsEveryModel()) return some;
  std::vector<std::string> every;
  const auto add = [&](const auto& models) {
    every.insert(every.end(), std::begin(models), std::end(models));
  };
  add(testing::kAttentionModels);
  add(testing::kModelsOf2026);
  add(testing::kHybridModels);
  add(testing::kStateSpaceModels);
  add(testing::kQuantizedModels);
  add(testing::kRecordedModels);
  return every;
}

class VulkanGolden : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    SMELT_REQUIRE_VULKAN();
    const std::string folder = testing::ModelPath(GetParam());
    if (folder.empty()) SMELT_REQUIRE_SHARED();
    OpenOptions options;
    options.vocabulary = false;
    auto opened = OpenModel(folder, options);
    SMELT_ASSERT_OK(opened);
    source_ = std::move(opened->source);
    recorded_.set_device(kVulkan);
    ASSERT_TRUE(recorded_.Find(folder));
  }

  std::unique_ptr<ModelSource> source_;
  testing::GoldenModel recorded_;
};

TEST_P(VulkanGolden, Logits) { recorded_.ExpectLogits(*source_); }

class VulkanGreedy : public VulkanGolden {};
TEST_P(VulkanGreedy, Continuation) { recorded_.ExpectGreedyTexts(*source_); }

class VulkanPerplexity : public VulkanGolden {};
TEST_P(VulkanPerplexity, TwoChunksEqualTheProcessors) {
  ScoreOptions options{.context = 256, .chunks = 2};
  const auto expected = Score(*source_, nullptr, {recorded_.tokens()}, options, {});
  options.device = kVulkan;
  const auto score = Score(*source_, nullptr, {recorded_.tokens()}, options, {});
  SMELT_ASSERT_OK(expected);
  SMELT_ASSERT_OK(score);
  EXPECT_NEAR(score->perplexity, expected->perplexity, 5e-4 * expected->perplexity);
  if (WantsEveryModel()) recorded_.ExpectPerplexities(*source_);
}

INSTANTIATE_TEST_SUITE_P(Attention, VulkanGolden, ::testing::ValuesIn(testing::kAttentionModels),
                         testing::TestName);
INSTANTIATE_TEST_SUITE_P(Of2026, VulkanGolden, ::testing::ValuesIn(testing::kModelsOf2026),
                         testing::TestName);
INSTANTIATE_TEST_SUITE_P(Hybrid, VulkanGolden, ::testing::ValuesIn(testing::kHybridModels),
                         testing::TestName);
INSTANTIATE_TEST_SUITE_P(StateSpace, VulkanGolden, ::testing::ValuesIn(testing::kStateSpaceModels),
                         testing::TestName);
INSTANTIATE_TEST_SUITE_P(Quantized, VulkanGolden, ::testing::ValuesIn(testing::kQuantizedModels),
                         testing::TestName);
INSTANTIATE_TEST_SUITE_P(Recorded, VulkanGolden, ::testing::ValuesIn(testing::kRecordedModels),
                         testing::TestName);
INSTANTIATE_TEST_SUITE_P(Families, VulkanGreedy,
                         ::testing::ValuesIn(EveryModelOr({"llama", "qwen2moe", "gemma2", "phi3",
                                                           "gptneox", "mamba", "mamba2", "jamba",
                                                           "internlm2", "mistral4", "qwen3_5"})),
                         testing::TestName);
INSTANTIATE_TEST_SUITE_P(Families, VulkanPerplexity,
                         ::testing::ValuesIn(EveryModelOr({"llama", "qwen2moe", "gemma2",
                                                           "mamba2"})),
                         testing::TestName);

}  // namespace
}  // namespace smelt
