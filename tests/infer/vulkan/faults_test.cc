// A device whose functions fail.
#ifdef SMELT_HAS_VULKAN

#include <gtest/gtest.h>

#include <type_traits>

#include "infer/score.h"
#include "tests/infer/random_models.h"
#include "tests/infer/vulkan/vulkan_testing.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::kVulkan;
using testing::MakeRandomModel;
using testing::RandomIds;
using testing::RandomModel;

/// Vulkan's functions, of which the one that is called `fail_at`th (from 1 on) fails.
struct Faults {
  static inline uint64_t calls = 0, fail_at = 0;
  static inline VkResult error = VK_SUCCESS;
};
template <auto& kFunction, typename Pointer>
struct Injected;
template <auto& kFunction, typename... Args>
struct Injected<kFunction, VkResult(VKAPI_PTR*)(Args...)> {
  static inline VkResult(VKAPI_PTR* real)(Args...) = nullptr;
  static VkResult VKAPI_PTR Call(Args... args) {
    return ++Faults::calls == Faults::fail_at ? Faults::error : real(args...);
  }
};
template <auto& kFunction>
void Inject() {
  using Fake = Injected<kFunction, std::remove_reference_t<decltype(kFunction)>>;
  if (kFunction == Fake::Call) return;
  Fake::real = kFunction;
  kFunction = Fake::Call;
}

TEST(VulkanFaults, EveryCallThatFailsIsASentence) {
  SMELT_REQUIRE_VULKAN();
  Inject<vkCreateDevice>();
  Inject<vkCreateCommandPool>();
  Inject<vkAllocateCommandBuffers>();
  Inject<vkCreateFence>();
  Inject<vkCreatePipelineLayout>();
  Inject<vkCreatePipelineCache>();
  Inject<vkCreateBuffer>();
  Inject<vkAllocateMemory>();
  Inject<vkBindBufferMemory>();
  Inject<vkMapMemory>();
  Inject<vkCreateShaderModule>();
  Inject<vkCreateComputePipelines>();
  Inject<vkBeginCommandBuffer>();
  Inject<vkEndCommandBuffer>();
  Inject<vkQueueSubmit>();
  Inject<vkWaitForFences>();
  Inject<vkResetFences>();
  const RandomModel m = MakeRandomModel("gqa");
  const std::vector<int32_t> ids = RandomIds(7, 40, m.spec.vocabulary);
  const ScoreOptions options{.context = 16, .chunks = 1, .device = kVulkan};
  const auto run = [&](uint64_t fail_at, VkResult error) {
    Faults::calls = 0;
    Faults::fail_at = fail_at;
    Faults::error = error;
    absl::StatusOr<ScoreResult> score = Score(m.specified(), nullptr, {ids}, options, {});
    Faults::fail_at = 0;
    return score;
  };
  const auto whole = run(0, VK_SUCCESS);
  SMELT_ASSERT_OK(whole);
  const uint64_t calls = Faults::calls;
  EXPECT_GT(calls, 20u);
  for (uint64_t call = 1; call <= calls; ++call) {
    const bool memory = call % 2 == 0;
    const auto score = run(call, memory ? VK_ERROR_OUT_OF_DEVICE_MEMORY : VK_ERROR_DEVICE_LOST);
    // A block that could not be had may be had in a smaller size.
    if (score.ok()) {
      EXPECT_EQ(score->mean_nll, whole->mean_nll) << call;
      continue;
    }
    EXPECT_EQ(CodeOf(score.status()), memory ? ErrorCode::kOutOfMemory : ErrorCode::kIo)
        << call << ": " << score.status();
  }
  SMELT_EXPECT_OK(run(0, VK_SUCCESS));
}

}  // namespace
}  // namespace smelt

#endif
