// A device against what transformers recorded.
#include <gtest/gtest.h>

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
                         ::testing::Values("llama", "qwen2moe", "gemma2", "phi3", "gptneox",
                                           "mamba", "mamba2", "jamba", "internlm2", "mistral4",
                                           "qwen3_5"),
                         testing::TestName);
INSTANTIATE_TEST_SUITE_P(Families, VulkanPerplexity,
                         ::testing::Values("llama", "qwen2moe", "gemma2", "mamba2"),
                         testing::TestName);

}  // namespace
}  // namespace smelt
