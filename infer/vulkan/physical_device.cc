#include "infer/vulkan/physical_device.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <string_view>

#include "lib/base/status.h"

namespace smelt::vulkan {
namespace {

absl::StatusOr<VkInstance> MakeInstance() {
  if (volkInitialize() != VK_SUCCESS) {
    return Error(
        ErrorCode::kUnsupported,
        "this machine has no Vulkan loader (libvulkan.so.1); install the package libvulkan1 "
        "and the device's driver, or use --device cpu");
  }
  VkApplicationInfo application{};
  application.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO;
  application.pApplicationName = "smelt";
  application.apiVersion = VK_API_VERSION_1_3;
  VkInstanceCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO;
  info.pApplicationInfo = &application;
  VkInstance instance = VK_NULL_HANDLE;
  if (vkCreateInstance(&info, nullptr, &instance) != VK_SUCCESS) {
    return Error(
        ErrorCode::kUnsupported,
        "no Vulkan driver works here; install the device's driver (mesa-vulkan-drivers for "
        "AMD and Intel), or use --device cpu");
  }
  volkLoadInstance(instance);
  return instance;
}

/// Lives as long as the process: devices refer to it.
const absl::StatusOr<VkInstance>& Instance() {
  static const absl::StatusOr<VkInstance> instance = MakeInstance();
  return instance;
}

bool HasExtension(VkPhysicalDevice device, std::string_view name) {
  uint32_t count = 0;
  vkEnumerateDeviceExtensionProperties(device, nullptr, &count, nullptr);
  std::vector<VkExtensionProperties> extensions(count);
  vkEnumerateDeviceExtensionProperties(device, nullptr, &count, extensions.data());
  return std::ranges::any_of(
      extensions, [&](const auto& extension) { return extension.extensionName == name; });
}

/// The heap that the device computes from, and what of it is left for this process.
void DescribeMemory(VkPhysicalDevice handle, PhysicalDevice& device) {
  const bool told = HasExtension(handle, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
  VkPhysicalDeviceMemoryBudgetPropertiesEXT budget{};
  budget.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT;
  VkPhysicalDeviceMemoryProperties2 properties{};
  properties.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2;
  if (told) properties.pNext = &budget;
  vkGetPhysicalDeviceMemoryProperties2(handle, &properties);
  const VkPhysicalDeviceMemoryProperties& memory = properties.memoryProperties;
  for (uint32_t i = 0; i < memory.memoryHeapCount; ++i) {
    const VkMemoryHeap& heap = memory.memoryHeaps[i];
    if ((heap.flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) == 0 || heap.size <= device.memory) continue;
    device.memory = device.available = heap.size;
    if (!told) continue;
    const VkDeviceSize used = std::min(budget.heapUsage[i], budget.heapBudget[i]);
    device.available = std::min<uint64_t>(heap.size, budget.heapBudget[i] - used);
  }
}

/// A family of queues that computes; one that does nothing else comes first.
bool FindQueue(VkPhysicalDevice device, uint32_t& family) {
  uint32_t count = 0;
  vkGetPhysicalDeviceQueueFamilyProperties(device, &count, nullptr);
  std::vector<VkQueueFamilyProperties> families(count);
  vkGetPhysicalDeviceQueueFamilyProperties(device, &count, families.data());
  bool found = false;
  for (uint32_t i = 0; i < count; ++i) {
    if ((families[i].queueFlags & VK_QUEUE_COMPUTE_BIT) == 0) continue;
    const bool only = (families[i].queueFlags & VK_QUEUE_GRAPHICS_BIT) == 0;
    if (!found || only) family = i;
    found = true;
    if (only) break;
  }
  return found;
}

struct Described {
  PhysicalDevice device;
  std::array<uint8_t, VK_UUID_SIZE> uuid{};
};

Described Describe(VkPhysicalDevice handle) {
  VkPhysicalDeviceVulkan11Properties v11{};
  v11.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES;
  VkPhysicalDeviceVulkan12Properties v12{};
  v12.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES;
  v12.pNext = &v11;
  VkPhysicalDeviceProperties2 properties{};
  properties.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2;
  properties.pNext = &v12;
  vkGetPhysicalDeviceProperties2(handle, &properties);

  Described out;
  PhysicalDevice& device = out.device;
  device.handle = handle;
  device.name = properties.properties.deviceName;
  device.driver = std::string(v12.driverName) + " " + v12.driverInfo;
  device.software = properties.properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU;
  DescribeMemory(handle, device);
  device.largest_allocation = v11.maxMemoryAllocationSize;
  std::memcpy(out.uuid.data(), v11.deviceUUID, VK_UUID_SIZE);
  if (properties.properties.apiVersion < VK_API_VERSION_1_2) {
    device.missing = "Vulkan 1.2";
    return out;
  }
  VkPhysicalDeviceShaderIntegerDotProductFeatures dot{};
  dot.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES;
  device.integer_dot_extension =
      properties.properties.apiVersion < VK_API_VERSION_1_3 &&
      HasExtension(handle, VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME);
  const bool has_dot =
      properties.properties.apiVersion >= VK_API_VERSION_1_3 || device.integer_dot_extension;
  VkPhysicalDeviceVulkan12Features features12{};
  features12.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES;
  if (has_dot) features12.pNext = &dot;
  VkPhysicalDeviceFeatures2 features{};
  features.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2;
  features.pNext = &features12;
  vkGetPhysicalDeviceFeatures2(handle, &features);
  device.integer_dot = dot.shaderIntegerDotProduct == VK_TRUE;
  if (features12.bufferDeviceAddress == VK_FALSE) device.missing = "buffer device addresses";
  if (!FindQueue(handle, device.queue_family)) device.missing = "a queue that computes";
  return out;
}

}  // namespace

absl::StatusOr<std::vector<PhysicalDevice>> FindPhysicalDevices() {
  SMELT_ASSIGN_OR_RETURN(const VkInstance instance, Instance());
  uint32_t count = 0;
  SMELT_VK(vkEnumeratePhysicalDevices, instance, &count, nullptr);
  std::vector<VkPhysicalDevice> handles(count);
  const VkResult result = vkEnumeratePhysicalDevices(instance, &count, handles.data());
  if (result != VK_INCOMPLETE) SMELT_RETURN_IF_ERROR(CheckVk(result, "vkEnumeratePhysicalDevices"));
  handles.resize(count);
  std::vector<PhysicalDevice> devices;
  std::set<std::array<uint8_t, VK_UUID_SIZE>> seen;  // two drivers may offer one card
  for (const VkPhysicalDevice handle : handles) {
    Described described = Describe(handle);
    if (seen.insert(described.uuid).second) devices.push_back(std::move(described.device));
  }
  return devices;
}

}  // namespace smelt::vulkan
