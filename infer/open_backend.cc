#include "infer/open_backend.h"

#include <algorithm>
#include <charconv>

#include "lib/base/ascii.h"
#include "lib/base/status.h"
#ifdef SMELT_HAS_VULKAN
#include "infer/vulkan/backend.h"
#include "infer/vulkan/physical_device.h"
#endif

namespace smelt {
namespace {

#ifdef SMELT_HAS_VULKAN

using vulkan::PhysicalDevice;

absl::StatusOr<std::vector<PhysicalDevice>> Devices() { return vulkan::FindPhysicalDevices(); }

absl::StatusOr<std::unique_ptr<Backend>> Open(const PhysicalDevice& device,
                                              const DeviceOptions& options) {
  return vulkan::NewBackend(device, options.device_memory, options.cache_type == "f16");
}

#else

struct PhysicalDevice {
  std::string name, driver, missing;
  bool software = false;
  uint64_t memory = 0;
};

absl::StatusOr<std::vector<PhysicalDevice>> Devices() {
  return Error(
      ErrorCode::kUnsupported,
      "this smelt was built without Vulkan; build it with -DSMELT_VULKAN=ON, or use --device cpu");
}

absl::StatusOr<std::unique_ptr<Backend>> Open(const PhysicalDevice&, const DeviceOptions&) {
  return Devices().status();
}

#endif

std::string DeviceId(size_t number) { return "vulkan:" + std::to_string(number); }

/// The number of the device that "", "1" or a part of a name means.
absl::StatusOr<size_t> Choose(const std::vector<PhysicalDevice>& devices, std::string_view wanted) {
  if (devices.empty())
    return Error(ErrorCode::kNotFound, "Vulkan offers no device here; use --device cpu");
  size_t number = 0;
  if (wanted.empty()) {
    const auto card = std::ranges::find_if(devices, [](const auto& d) { return !d.software; });
    return card != devices.end() ? static_cast<size_t>(card - devices.begin()) : 0;
  }
  const auto [end, error] = std::from_chars(wanted.data(), wanted.data() + wanted.size(), number);
  if (error == std::errc() && end == wanted.data() + wanted.size() && number < devices.size())
    return number;
  for (size_t i = 0; i < devices.size(); ++i) {
    if (LowerAscii(devices[i].name).find(LowerAscii(wanted)) != std::string::npos) return i;
  }
  return Error(ErrorCode::kNotFound, "Vulkan offers no device '", Escape(wanted),
               "'; smelt devices lists what is there");
}

/// The first card that can do it, else the processor.
std::string Best() {
  const absl::StatusOr<std::vector<PhysicalDevice>> devices = Devices();
  for (size_t i = 0; devices.ok() && i < devices->size(); ++i) {
    if (!(*devices)[i].software && (*devices)[i].missing.empty()) return DeviceId(i);
  }
  return "cpu";
}

absl::StatusOr<DeviceOptions> Chosen(const DeviceOptions& options) {
  constexpr std::string_view kVulkan = "vulkan";
  DeviceOptions chosen = options;
  const std::string_view name = options.device;
  if (name == "cpu") return chosen;
  if (name == "auto") {
    chosen.device = Best();
    return chosen;
  }
  if (name != kVulkan && !name.starts_with("vulkan:")) {
    return Error(ErrorCode::kUsage, "'", Escape(name),
                 "' is no device: cpu, auto, vulkan, vulkan:NUMBER or vulkan:NAME");
  }
  SMELT_ASSIGN_OR_RETURN(const std::vector<PhysicalDevice> devices, Devices());
  SMELT_ASSIGN_OR_RETURN(const size_t number,
                         Choose(devices, name.substr(std::min(name.size(), kVulkan.size() + 1))));
  if (!devices[number].missing.empty()) {
    return Error(ErrorCode::kUnsupported, "'", Escape(devices[number].name), "' lacks ",
                 devices[number].missing,
                 "; use another device (smelt devices lists them), or --device cpu");
  }
  chosen.device = DeviceId(number);
  return chosen;
}

}  // namespace

absl::StatusOr<DeviceOptions> ChooseDevice(const DeviceOptions& options) {
  if (options.cache_type != "f32" && options.cache_type != "f16")
    return Error(ErrorCode::kUsage, "'", Escape(options.cache_type),
                 "' is no cache type: f32, f16");
  SMELT_ASSIGN_OR_RETURN(DeviceOptions chosen, Chosen(options));
  if (chosen.device == "cpu" && options.cache_type != "f32") {
    return Error(ErrorCode::kUnsupported,
                 "the processor keeps keys and values as f32; choose a device for --cache-type ",
                 options.cache_type, ", or leave it out");
  }
  return chosen;
}

absl::StatusOr<std::unique_ptr<Backend>> OpenBackend(const DeviceOptions& options) {
  SMELT_ASSIGN_OR_RETURN(const DeviceOptions chosen, ChooseDevice(options));
  if (chosen.device == "cpu") return NewCpuBackend();
  SMELT_ASSIGN_OR_RETURN(const std::vector<PhysicalDevice> devices, Devices());
  for (size_t i = 0; i < devices.size(); ++i) {
    if (DeviceId(i) == chosen.device) return Open(devices[i], options);
  }
  return Error(ErrorCode::kNotFound, "the device ", chosen.device, " is gone");
}

absl::StatusOr<std::vector<std::unique_ptr<Backend>>> OpenBackends(const DeviceOptions& options) {
  SMELT_ASSIGN_OR_RETURN(const DeviceOptions chosen, ChooseDevice(options));
  std::vector<std::unique_ptr<Backend>> backends;
  if (chosen.device != "cpu") {
    SMELT_ASSIGN_OR_RETURN(std::unique_ptr<Backend> device, OpenBackend(chosen));
    backends.push_back(std::move(device));
  }
  backends.push_back(NewCpuBackend());
  return backends;
}

DeviceList ListDevices() {
  DeviceList list;
  list.devices.push_back({.id = "cpu", .name = "processor", .driver = "", .problem = ""});
  const absl::StatusOr<std::vector<PhysicalDevice>> devices = Devices();
  if (!devices.ok()) {
    list.problem = std::string(devices.status().message());
    return list;
  }
  for (size_t i = 0; i < devices->size(); ++i) {
    const PhysicalDevice& device = (*devices)[i];
    list.devices.push_back({.id = DeviceId(i),
                            .name = device.name,
                            .driver = device.driver,
                            .software = device.software,
                            .memory = device.memory,
                            .problem = device.missing.empty() ? "" : "lacks " + device.missing});
  }
  return list;
}

}  // namespace smelt
