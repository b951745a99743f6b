// Which device is chosen, and what is said of those that are not.
#ifdef SMELT_HAS_VULKAN

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "infer/session.h"
#include "infer/vulkan/card_nodes.h"
#include "infer/vulkan/physical_device.h"
#include "lib/base/job_scope.h"
#include "tests/infer/random_models.h"
#include "tests/infer/vulkan/vulkan_testing.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

using testing::kVulkan;
using testing::MakeRandomModel;
using testing::RandomModel;
using testing::Replaced;
using testing::TempDir;

/// Lets a free choice take software devices, as if they were cards.
class SoftwareCounts {
 public:
  SoftwareCounts() { DeviceTrials::software = true; }
  ~SoftwareCounts() { DeviceTrials::software = false; }
};

/// What a free choice is, and the notes that come with it.
struct FreeChoice {
  std::string device;
  std::vector<std::string> notes;
};
FreeChoice ChooseFreely(Precision precision = Precision::kF32) {
  FreeChoice choice;
  Observer observer;
  observer.note = [&](NoteKind, const std::string& note) { choice.notes.push_back(note); };
  const auto chosen = ChooseDevice(AnyDevice(), precision, observer);
  SMELT_EXPECT_OK(chosen);
  if (chosen.ok()) choice.device = chosen->device;
  return choice;
}

TEST(VulkanChoice, ADeviceThatPassesItsCheckIsTakenAndSoftwareIsNot) {
  SMELT_REQUIRE_VULKAN();
  const DeviceList list = ListDevices();
  const auto card = std::ranges::find_if(
      list.devices, [](const DeviceInfo& d) { return d.id != "cpu" && !d.software; });
  if (card == list.devices.end()) {
    const FreeChoice choice = ChooseFreely();
    EXPECT_EQ(choice.device, "cpu");
    EXPECT_THAT(choice.notes, ::testing::IsEmpty());
  }
  const SoftwareCounts counts;
  const FreeChoice choice = ChooseFreely();
  EXPECT_EQ(choice.device, "vulkan:0");
  EXPECT_THAT(choice.notes, ::testing::IsEmpty());
  EXPECT_FALSE(list.devices[1].checked);
  const DeviceInfo checked = ListDevices(true).devices[1];
  EXPECT_TRUE(checked.checked);
  EXPECT_EQ(checked.problem, "");
}

// The processor has no use for them.
TEST(VulkanChoice, OptionsOfADeviceThatIsNotUsedAreSaidOnce) {
  std::vector<std::string> notes;
  Observer observer;
  observer.note = [&](NoteKind kind, const std::string& note) {
    EXPECT_EQ(kind, NoteKind::kWarning);
    notes.push_back(note);
  };
  const auto chosen = ChooseDevice({.device = "cpu", .device_memory = 1, .device_layers = 3},
                                   Precision::kF32, observer);
  SMELT_ASSERT_OK(chosen);
  SMELT_ASSERT_OK(ChooseDevice(*chosen, Precision::kF32, observer));
  EXPECT_THAT(notes, ::testing::ElementsAre(::testing::AllOf(
                         ::testing::HasSubstr("--device-layers and --device-memory change nothing"),
                         ::testing::HasSubstr("--device is cpu"))));
  notes.clear();
  SMELT_ASSERT_OK(ChooseDevice({.device = "cpu"}, Precision::kF32, observer));
  EXPECT_THAT(notes, ::testing::IsEmpty());
}

/// A device with a flaw is passed over with one note, refused where it was named, and used where
/// the check is not wanted.
void ExpectPassedOver(const std::string& reason) {
  const SoftwareCounts counts;
  const FreeChoice choice = ChooseFreely();
  EXPECT_EQ(choice.device, "cpu");
  ASSERT_THAT(choice.notes, ::testing::SizeIs(1));
  EXPECT_THAT(choice.notes[0],
              ::testing::AllOf(::testing::StartsWith("vulkan:0 ("), ::testing::HasSubstr(reason),
                               ::testing::HasSubstr("--device vulkan:0 --no-device-check")));
  const auto named = ChooseDevice({.device = "vulkan:0"});
  EXPECT_FALSE(named.ok());
  EXPECT_THAT(std::string(named.status().message()),
              ::testing::AllOf(::testing::HasSubstr(reason), ::testing::HasSubstr("--device cpu"),
                               ::testing::HasSubstr("--no-device-check")));
  const auto forced = ChooseDevice({.device = "vulkan:0", .check = false});
  SMELT_ASSERT_OK(forced);
  EXPECT_EQ(forced->device, "vulkan:0");
  const DeviceInfo listed = ListDevices(true).devices[1];
  EXPECT_TRUE(listed.checked);
  EXPECT_THAT(listed.problem, ::testing::HasSubstr(reason));
}

TEST(VulkanChoice, ADeviceThatComputesSomethingElseIsPassedOver) {
  SMELT_REQUIRE_VULKAN();
  using Dispatches = Replaced<vkCmdDispatch>;
  // The last workgroup of each dispatch is lost.
  const Dispatches replaced([](VkCommandBuffer commands, uint32_t x, uint32_t y, uint32_t z) {
    if (x > 1) --x;
    Dispatches::real(commands, x, y, z);
  });
  ExpectPassedOver("its results are not the processor's");
}

TEST(VulkanChoice, ADeviceThatFailsIsPassedOver) {
  SMELT_REQUIRE_VULKAN();
  {
    const Replaced<vkCreateDevice> replaced(
        [](VkPhysicalDevice, const VkDeviceCreateInfo*, const VkAllocationCallbacks*, VkDevice*) {
          return VK_ERROR_INITIALIZATION_FAILED;
        });
    ExpectPassedOver("vkCreateDevice");
  }
  const Replaced<vkQueueSubmit> replaced(
      [](VkQueue, uint32_t, const VkSubmitInfo*, VkFence) { return VK_ERROR_DEVICE_LOST; });
  ExpectPassedOver("was lost");
}

TEST(VulkanChoice, ADeviceThatDoesNotComeBackIsPassedOver) {
  SMELT_REQUIRE_VULKAN();
  static uint64_t waited;
  using Waits = Replaced<vkWaitForFences>;
  const Waits replaced([](VkDevice device, uint32_t count, const VkFence* fences, VkBool32 all,
                          uint64_t nanoseconds) {
    waited = nanoseconds;
    const VkResult done = Waits::real(device, count, fences, all, UINT64_MAX);
    return done == VK_SUCCESS ? VK_TIMEOUT : done;
  });
  ExpectPassedOver("seconds");
  const auto physical = vulkan::FindPhysicalDevices();
  SMELT_ASSERT_OK(physical);
  const auto device = vulkan::Device::Open(physical->front(), 0, 7);
  SMELT_ASSERT_OK(device);
  const auto memory = (*device)->Allocate(4);
  SMELT_ASSERT_OK(memory);
  SMELT_ASSERT_OK((*device)->Clear(*memory));
  EXPECT_EQ(CodeOf((*device)->Wait()), ErrorCode::kIo);
  EXPECT_EQ(waited, 7'000'000'000u);
}

TEST(VulkanChoice, WhereNoDriverReachesACardThereIsNone) {
#ifndef __linux__
  GTEST_SKIP() << "SKIPPED: devices are files on Linux only";
#endif
  TempDir dev;
  EXPECT_FALSE(vulkan::MayHaveCard(dev.path()));
  testing::WriteFile(dev / "null", "");
  std::filesystem::create_directory(dev / "dri");
  testing::WriteFile(dev / "dri/card0", "");  // a screen
  EXPECT_FALSE(vulkan::MayHaveCard(dev.path()));
  for (const char* name : {"dri/renderD128", "nvidia0", "nvidiactl", "dxg", "kgsl-3d0", "mali0"}) {
    testing::WriteFile(dev / name, "");
    EXPECT_TRUE(vulkan::MayHaveCard(dev.path())) << name;
    std::filesystem::remove(dev / name);
    EXPECT_FALSE(vulkan::MayHaveCard(dev.path())) << name;
  }
}

TEST(VulkanChoice, ADeviceThatLacksSomethingIsPassedOver) {
  SMELT_REQUIRE_VULKAN();
  using Features = Replaced<vkGetPhysicalDeviceFeatures2>;
  const Features replaced([](VkPhysicalDevice device, VkPhysicalDeviceFeatures2* features) {
    Features::real(device, features);
    static_cast<VkPhysicalDeviceVulkan12Features*>(features->pNext)->bufferDeviceAddress = VK_FALSE;
  });
  const SoftwareCounts counts;
  const FreeChoice choice = ChooseFreely();
  EXPECT_EQ(choice.device, "cpu");
  EXPECT_THAT(choice.notes, ::testing::ElementsAre(::testing::AllOf(
                                ::testing::HasSubstr("lacks buffer device addresses"),
                                ::testing::Not(::testing::HasSubstr("--no-device-check")))));
  EXPECT_EQ(CodeOf(ChooseDevice(kVulkan).status()), ErrorCode::kUnsupported);
}

TEST(VulkanChoice, ADeviceWithoutIntegerProductsIsNotTakenForRoundedActivations) {
  SMELT_REQUIRE_VULKAN();
  using Features = Replaced<vkGetPhysicalDeviceFeatures2>;
  const Features replaced([](VkPhysicalDevice device, VkPhysicalDeviceFeatures2* features) {
    Features::real(device, features);
    for (auto* next = static_cast<VkBaseOutStructure*>(features->pNext); next != nullptr;
         next = next->pNext) {
      if (next->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES) {
        reinterpret_cast<VkPhysicalDeviceShaderIntegerDotProductFeatures*>(next)
            ->shaderIntegerDotProduct = VK_FALSE;
      }
    }
  });
  const SoftwareCounts counts;
  EXPECT_EQ(ChooseFreely().device, "vulkan:0");
  const FreeChoice choice = ChooseFreely(Precision::kQ8);
  EXPECT_EQ(choice.device, "cpu");
  EXPECT_THAT(choice.notes,
              ::testing::ElementsAre(::testing::HasSubstr("lacks integer dot products")));
  EXPECT_EQ(CodeOf(ChooseDevice(kVulkan, Precision::kQ8).status()), ErrorCode::kUnsupported);
  const RandomModel m = MakeRandomModel("gqa");
  EXPECT_EQ(CodeOf(Session::Create(m.specified(), Precision::kQ8, kVulkan).status()),
            ErrorCode::kUnsupported);
}

TEST(VulkanChoice, ACheckThatIsInterruptedDecidesNothing) {
  SMELT_REQUIRE_VULKAN();
  DeviceTrials::Forget();
  {
    Observer observer;
    observer.cancelled = [] { return true; };
    const JobScope job(observer);
    EXPECT_EQ(CodeOf(ChooseDevice(kVulkan).status()), ErrorCode::kCancelled);
  }
  SMELT_EXPECT_OK(ChooseDevice(kVulkan));
}

TEST(VulkanChoice, WhatOthersHaveOfTheMemoryIsNotTaken) {
  SMELT_REQUIRE_VULKAN();
  using Extensions = Replaced<vkEnumerateDeviceExtensionProperties>;
  using Memories = Replaced<vkGetPhysicalDeviceMemoryProperties2>;
  const Extensions extensions(
      [](VkPhysicalDevice, const char*, uint32_t* count, VkExtensionProperties* properties) {
        *count = 1;
        if (properties != nullptr)
          std::strcpy(properties->extensionName, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
        return VK_SUCCESS;
      });
  const Memories memories([](VkPhysicalDevice device, VkPhysicalDeviceMemoryProperties2* memory) {
    auto* budget = static_cast<VkPhysicalDeviceMemoryBudgetPropertiesEXT*>(memory->pNext);
    memory->pNext = nullptr;
    Memories::real(device, memory);
    for (VkDeviceSize& bytes : budget->heapBudget) bytes = 300'000'000;
    for (VkDeviceSize& bytes : budget->heapUsage) bytes = 100'000'000;
  });
  const auto physical = vulkan::FindPhysicalDevices();
  SMELT_ASSERT_OK(physical);
  EXPECT_EQ(physical->front().available, 200'000'000u);
  const auto device = vulkan::Device::Open(physical->front(), 0);
  SMELT_ASSERT_OK(device);
  EXPECT_EQ((*device)->arena().limit(), 200'000'000u);
}

}  // namespace
}  // namespace smelt

#endif
