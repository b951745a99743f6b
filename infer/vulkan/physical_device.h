// The devices that Vulkan offers.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "infer/vulkan/api.h"

namespace smelt::vulkan {

struct PhysicalDevice {
  VkPhysicalDevice handle = VK_NULL_HANDLE;
  std::string name, driver;  ///< as the driver writes them
  bool software = false;     ///< computes on the processor
  uint64_t memory = 0;       ///< bytes of its own heap
  uint64_t available = 0;    ///< of them, as far as the driver says what others have taken
  uint64_t largest_allocation = 0;
  uint32_t queue_family = 0;
  bool integer_dot = false;            ///< sums products of packed bytes
  bool integer_dot_extension = false;  ///< as an extension: Vulkan 1.2
  std::string missing;  ///< a feature that it lacks and the engine needs; empty: none
};

/// In the loader's order, each card once. kUnsupported, with what is missing, where there is no
/// Vulkan.
absl::StatusOr<std::vector<PhysicalDevice>> FindPhysicalDevices();

}  // namespace smelt::vulkan
