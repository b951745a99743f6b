// Losses on a device, and models that are larger than it.
#include "infer/score.h"

#include <gtest/gtest.h>

#include "tests/infer/random_models.h"
#include "tests/infer/vulkan/vulkan_testing.h"
#include "tests/model/expected_gguf.h"
#include "tests/model/fixture_models.h"
#include "tests/model/golden_model.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::kVulkan;
using testing::MakeRandomModel;
using testing::RandomIds;
using testing::RandomModel;

TEST(VulkanScore, EqualsTheProcessors) {
  SMELT_REQUIRE_VULKAN();
  const RandomModel a = MakeRandomModel("window"), b = MakeRandomModel("biases");
  const std::vector<int32_t> ids =
      RandomIds(7, 3 * 64 + 20, std::min(a.spec.vocabulary, b.spec.vocabulary));
  const SpecifiedModel reference = b.specified();
  ScoreOptions options{.context = 64, .batch_tokens = 128};
  const auto expected = Score(a.specified(), &reference, {ids}, options, {});
  options.device = kVulkan;
  const auto score = Score(a.specified(), &reference, {ids}, options, {});
  SMELT_ASSERT_OK(expected);
  SMELT_ASSERT_OK(score);
  EXPECT_NEAR(score->mean_nll, expected->mean_nll, 1e-5);
  EXPECT_NEAR(score->reference->mean_nll, expected->reference->mean_nll, 1e-5);
  EXPECT_NEAR(score->reference->kl_mean, expected->reference->kl_mean, 1e-5);
  EXPECT_NEAR(score->reference->kl_max, expected->reference->kl_max, 1e-4);
  EXPECT_EQ(score->reference->top1_agreement, expected->reference->top1_agreement);
  EXPECT_TRUE(score->finite && score->reference->finite);
  const auto same = Score(a.specified(), &reference, {ids}, options, {});
  SMELT_ASSERT_OK(same);
  EXPECT_EQ(same->mean_nll, score->mean_nll);
  EXPECT_EQ(same->reference->kl_mean, score->reference->kl_mean);
}

TEST(VulkanScore, AModelsDivergenceFromItselfIsNothing) {
  SMELT_REQUIRE_VULKAN();
  const RandomModel a = MakeRandomModel("gqa");
  const SpecifiedModel reference = a.specified();
  const auto score = Score(a.specified(), &reference, {RandomIds(7, 140, a.spec.vocabulary)},
                           {.context = 64, .device = kVulkan}, {});
  SMELT_ASSERT_OK(score);
  EXPECT_EQ(score->reference->kl_max, 0);
  EXPECT_EQ(score->reference->top1_agreement, 1);
}

TEST(VulkanDevices, NamesThatMeanNothingAreRefused) {
  for (const char* name : {"gpu", "vulkan:no such card", "cuda", "", "vulkan:99"}) {
    const auto backend = OpenBackend({.device = name});
    EXPECT_FALSE(backend.ok()) << name;
  }
  SMELT_EXPECT_OK(OpenBackend({.device = "auto"}));
}

// 2.8 MB of weights, and the same figures to the last bit.
TEST(VulkanDevices, AModelMayBeLargerThanTheDevicesMemory) {
  SMELT_REQUIRE_VULKAN();
  const auto model = testing::OpenLlama();
  SMELT_ASSERT_OK(model);
  testing::GoldenModel recorded;
  ASSERT_TRUE(recorded.Find(testing::ModelPath("llama")));
  ScoreOptions options{.context = 64, .chunks = 4, .device = kVulkan};
  const auto whole = Score(*model->source, nullptr, {recorded.tokens()}, options, {});
  SMELT_ASSERT_OK(whole);
  for (const uint64_t memory : {4'000'000, 2'000'000, 1'500'000}) {
    options.device.device_memory = memory;
    const auto score = Score(*model->source, nullptr, {recorded.tokens()}, options, {});
    SMELT_ASSERT_OK(score);
    EXPECT_EQ(score->mean_nll, whole->mean_nll) << memory;
  }
}

TEST(VulkanDevices, AStackOfExpertsMayBeLargerThanTheDevicesMemory) {
  SMELT_REQUIRE_VULKAN();
  const RandomModel m = MakeRandomModel("experts_shared");
  ScoreOptions options{.context = 16, .chunks = 1, .device = kVulkan};
  const std::vector<int32_t> ids = RandomIds(7, 40, m.spec.vocabulary);
  const auto whole = Score(m.specified(), nullptr, {ids}, options, {});
  SMELT_ASSERT_OK(whole);
  options.device.device_memory = 150'000;
  const auto score = Score(m.specified(), nullptr, {ids}, options, {});
  SMELT_ASSERT_OK(score);
  EXPECT_EQ(score->mean_nll, whole->mean_nll);
}

TEST(VulkanDevices, ADeviceWithoutRoomIsASentence) {
  SMELT_REQUIRE_VULKAN();
  const RandomModel m = MakeRandomModel("gqa");
  const auto score =
      Score(m.specified(), nullptr, {RandomIds(7, 140, m.spec.vocabulary)},
            {.context = 64, .device = {.device = "vulkan", .device_memory = 65536}}, {});
  EXPECT_EQ(CodeOf(score.status()), ErrorCode::kOutOfMemory) << score.status();
}

}  // namespace
}  // namespace smelt
