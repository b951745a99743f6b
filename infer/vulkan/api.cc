#define VOLK_IMPLEMENTATION
#include "infer/vulkan/api.h"

#include "lib/base/status.h"

namespace smelt::vulkan {

absl::Status CheckVk(VkResult result, std::string_view call) {
  switch (result) {
    case VK_SUCCESS:
      return absl::OkStatus();
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
      return Error(ErrorCode::kOutOfMemory, "the device has no memory left (", call,
                   "); use a shorter context, or --device cpu");
    case VK_ERROR_OUT_OF_HOST_MEMORY:
      return Error(ErrorCode::kOutOfMemory, "no memory for the device's driver (", call, ")");
    case VK_ERROR_DEVICE_LOST:
      return Error(ErrorCode::kIo, "the device was lost while it computed (", call,
                   "); run again, or use --device cpu");
    default:
      return Error(ErrorCode::kIo, "the device's driver failed: ", call, " returned ",
                   static_cast<int>(result), "; use --device cpu");
  }
}

}  // namespace smelt::vulkan
