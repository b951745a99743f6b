// Vulkan's functions, found when they are wanted: without a driver, or without the loader's
// library, the program runs all the same.
#pragma once

#define VK_NO_PROTOTYPES
#include <volk.h>

#include <string_view>

#include "absl/status/status.h"

namespace smelt::vulkan {

/// OK for VK_SUCCESS; else what the device said of `call`, as a sentence: out of its memory, lost,
/// ...
absl::Status CheckVk(VkResult result, std::string_view call);

}  // namespace smelt::vulkan

/// Returns from the function when a Vulkan call fails: SMELT_VK(vkQueueSubmit, queue, ...).
#define SMELT_VK(function, ...) \
  SMELT_RETURN_IF_ERROR(::smelt::vulkan::CheckVk(function(__VA_ARGS__), #function))
