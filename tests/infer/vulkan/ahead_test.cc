// What the host brings while the device computes.
#ifdef SMELT_HAS_VULKAN

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "infer/score.h"
#include "infer/vulkan/device.h"
#include "tests/infer/vulkan/vulkan_testing.h"
#include "tests/model/expected_gguf.h"
#include "tests/model/fixture_models.h"
#include "tests/model/golden_model.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::kVulkan;
using testing::Replaced;

/// Hand-overs to the device and waits for them, while it lives.
class Traffic {
 public:
  Traffic() { handed_over = waited = ahead = 0; }
  static inline int handed_over, waited;
  static inline int ahead;  ///< hand-overs that nobody had waited for when a copy was recorded

 private:
  using Submits = Replaced<vkQueueSubmit>;
  using Waits = Replaced<vkWaitForFences>;
  using Copies = Replaced<vkCmdCopyBuffer>;
  const Submits submits_{
      [](VkQueue queue, uint32_t count, const VkSubmitInfo* infos, VkFence fence) {
        ++handed_over;
        return Submits::real(queue, count, infos, fence);
      }};
  const Waits waits_{[](VkDevice device, uint32_t count, const VkFence* fences, VkBool32 all,
                        uint64_t nanoseconds) {
    ++waited;
    return Waits::real(device, count, fences, all, nanoseconds);
  }};
  const Copies copies_{[](VkCommandBuffer commands, VkBuffer from, VkBuffer to, uint32_t count,
                          const VkBufferCopy* regions) {
    ahead = std::max(ahead, handed_over - waited);
    Copies::real(commands, from, to, count, regions);
  }};
};

TEST(VulkanAhead, WhatGoesToTheDeviceIsHandedOverWithoutWaiting) {
  SMELT_REQUIRE_VULKAN();
  const Traffic traffic;
  const auto physical = vulkan::FindPhysicalDevices();
  SMELT_ASSERT_OK(physical);
  const auto device = vulkan::Device::Open(physical->front(), 0);
  SMELT_ASSERT_OK(device);
  // Less than what may be on its way, then more.
  for (const size_t count : {size_t{10} << 20, size_t{25} << 20}) {
    std::vector<uint32_t> values(count), back(count);
    for (size_t i = 0; i < count; ++i) values[i] = static_cast<uint32_t>(i * 2654435761u);
    const auto memory = (*device)->Allocate(count * sizeof(uint32_t));
    SMELT_ASSERT_OK(memory);
    const int waited = Traffic::waited, handed_over = Traffic::handed_over;
    SMELT_ASSERT_OK((*device)->Write(*memory, 0, std::as_bytes(std::span(values))));
    if (waited == 0) {
      EXPECT_EQ(Traffic::waited, waited);
      EXPECT_GE(Traffic::handed_over - handed_over, 4);
    } else {
      EXPECT_LT(Traffic::waited - waited, Traffic::handed_over - handed_over);
    }
    SMELT_ASSERT_OK((*device)->Read(*memory, 0, std::as_writable_bytes(std::span(back))));
    EXPECT_TRUE(back == values);
  }
}

// 2.8 MB of weights: layer after layer is brought while those before it are computed, also where
// the memory of one has to be free for the next.
TEST(VulkanAhead, LayersAreBroughtWhileOthersAreComputed) {
  SMELT_REQUIRE_VULKAN();
  const auto model = testing::OpenLlama();
  SMELT_ASSERT_OK(model);
  testing::GoldenModel recorded;
  ASSERT_TRUE(recorded.Find(testing::ModelPath("llama")));
  for (const uint64_t memory : {1'000'000'000, 2'000'000}) {
    ScoreOptions options{.context = 64, .chunks = 4, .device = kVulkan};
    options.device.device_memory = memory;
    options.device.check = false;
    const Traffic traffic;
    const auto score = Score(*model->source, nullptr, {recorded.tokens()}, options, {});
    SMELT_ASSERT_OK(score);
    EXPECT_GE(Traffic::ahead, 4) << memory;
    ::testing::Test::RecordProperty("ahead", Traffic::ahead);
    ::testing::Test::RecordProperty("waited", Traffic::waited);
    ::testing::Test::RecordProperty("handed_over", Traffic::handed_over);
  }
}

}  // namespace
}  // namespace smelt

#endif
