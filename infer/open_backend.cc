#include "infer/open_backend.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "infer/self_check.h"
#include "lib/base/ascii.h"
#include "lib/base/job_scope.h"
#include "lib/base/status.h"
#ifdef SMELT_HAS_VULKAN
#include "infer/vulkan/backend.h"
#include "infer/vulkan/card_nodes.h"
#include "infer/vulkan/physical_device.h"
#endif

namespace smelt {
namespace {

#ifdef SMELT_HAS_VULKAN

using vulkan::MayHaveCard;
using vulkan::PhysicalDevice;

absl::StatusOr<std::vector<PhysicalDevice>> Devices() { return vulkan::FindPhysicalDevices(); }

absl::StatusOr<std::unique_ptr<Backend>> Open(const PhysicalDevice& device,
                                              const DeviceOptions& options) {
  return vulkan::NewBackend(device, options.device_memory);
}

/// Of what the self-check needs; a card for no longer than it may take, but a processor comes back.
absl::StatusOr<std::unique_ptr<Backend>> OpenForCheck(const PhysicalDevice& device) {
  constexpr uint64_t kMemory = 64'000'000, kSeconds = 10;
  return vulkan::NewBackend(device, kMemory, device.software ? vulkan::kForever : kSeconds);
}

#else

bool MayHaveCard() { return false; }

struct PhysicalDevice {
  std::string name, driver, missing;
  bool software = false, integer_dot = false;
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

absl::StatusOr<std::unique_ptr<Backend>> OpenForCheck(const PhysicalDevice&) {
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

struct Verdicts {
  std::mutex mutex;
  std::map<std::pair<std::string, Precision>, absl::Status> of;  ///< by DeviceInfo::id
};
Verdicts& KnownVerdicts() {
  static Verdicts verdicts;
  return verdicts;
}

/// Whether the device computes as the processor does; asks it once.
absl::Status Try(size_t number, const PhysicalDevice& device, Precision precision) {
  Verdicts& verdicts = KnownVerdicts();
  const std::lock_guard lock(verdicts.mutex);
  const std::pair key(DeviceId(number), precision);
  const auto known = verdicts.of.find(key);
  if (known != verdicts.of.end()) return known->second;
  const auto check = [&]() -> absl::Status {
    SMELT_ASSIGN_OR_RETURN(const std::unique_ptr<Backend> backend, OpenForCheck(device));
    return CheckBackend(*backend, precision);
  };
  const absl::Status verdict = check();
  if (CodeOf(verdict) != ErrorCode::kCancelled) verdicts.of.emplace(key, verdict);
  return verdict;
}

/// What the device lacks for this arithmetic; empty: nothing.
std::string Lacking(const PhysicalDevice& device, Precision precision) {
  if (!device.missing.empty()) return device.missing;
  if (precision == Precision::kQ8 && !device.integer_dot)
    return "integer dot products, which --activations q8 needs";
  return "";
}

/// What a sentence says, without what it advises.
std::string_view Reason(const absl::Status& status) {
  const std::string_view sentence(status.message().data(), status.message().size());
  return sentence.substr(0, sentence.find(';'));
}

/// The first card that can do it, else the processor.
absl::StatusOr<std::string> Best(bool check, Precision precision, const Observer& observer) {
  if (!DeviceTrials::software && !MayHaveCard()) return "cpu";
  const absl::StatusOr<std::vector<PhysicalDevice>> devices = Devices();
  for (size_t i = 0; devices.ok() && i < devices->size(); ++i) {
    const PhysicalDevice& device = (*devices)[i];
    if (device.software && !DeviceTrials::software) continue;
    std::string reason = Lacking(device, precision);
    if (!reason.empty()) {
      reason = "lacks " + reason;
    } else if (const absl::Status passed = check ? Try(i, device, precision) : absl::OkStatus();
               !passed.ok()) {
      if (CodeOf(passed) == ErrorCode::kCancelled) return passed;
      reason = Cat("fails its self-check: ", Reason(passed), "; --device ", DeviceId(i),
                   " --no-device-check uses it all the same");
    } else {
      return DeviceId(i);
    }
    observer.Note(Cat(DeviceId(i), " (", Escape(device.name), ") is passed over, it ", reason));
  }
  return "cpu";
}

absl::StatusOr<DeviceOptions> Chosen(const DeviceOptions& options, Precision precision,
                                     const Observer& observer) {
  constexpr std::string_view kVulkan = "vulkan";
  DeviceOptions chosen = options;
  const std::string_view name = options.device;
  if (name == "cpu") return chosen;
  if (name == "auto") {
    SMELT_ASSIGN_OR_RETURN(chosen.device, Best(options.check, precision, observer));
    return chosen;
  }
  if (name != kVulkan && !name.starts_with("vulkan:")) {
    return Error(ErrorCode::kUsage, "'", Escape(name),
                 "' is no device: cpu, auto, vulkan, vulkan:NUMBER or vulkan:NAME");
  }
  SMELT_ASSIGN_OR_RETURN(const std::vector<PhysicalDevice> devices, Devices());
  SMELT_ASSIGN_OR_RETURN(const size_t number,
                         Choose(devices, name.substr(std::min(name.size(), kVulkan.size() + 1))));
  if (const std::string lacking = Lacking(devices[number], precision); !lacking.empty()) {
    return Error(ErrorCode::kUnsupported, "'", Escape(devices[number].name), "' lacks ", lacking,
                 "; use another device (smelt devices lists them), or --device cpu");
  }
  if (options.check) {
    const absl::Status passed = Try(number, devices[number], precision);
    if (CodeOf(passed) == ErrorCode::kCancelled) return passed;
    if (!passed.ok()) {
      return Error(CodeOf(passed), "'", Escape(devices[number].name),
                   "' fails its self-check: ", Reason(passed),
                   "; use --device cpu, or --no-device-check to use it all the same");
    }
  }
  chosen.device = DeviceId(number);
  return chosen;
}

/// Why options of a device change nothing.
std::string NoDeviceFor(const DeviceOptions& options) {
  std::string given = options.device_layers ? "--device-layers" : "";
  if (options.device_memory > 0)
    given += given.empty() ? "--device-memory" : " and --device-memory";
  std::string why = "--device is cpu";
  if (options.device == "auto") {
    why = "there is no card that can be used";
    const absl::StatusOr<std::vector<PhysicalDevice>> devices = Devices();
    if (!devices.ok()) why = std::string(Reason(devices.status()));
  }
  return Cat(given, " change nothing, the processor computes: ", why);
}

}  // namespace

void DeviceTrials::Forget() {
  const std::lock_guard lock(KnownVerdicts().mutex);
  KnownVerdicts().of.clear();
}

absl::StatusOr<DeviceOptions> ChooseDevice(const DeviceOptions& options, Precision precision,
                                           const Observer& observer) {
  if (options.cache_type != "f32" && options.cache_type != "f16")
    return Error(ErrorCode::kUsage, "'", Escape(options.cache_type),
                 "' is no cache type: f32, f16");
  const bool told = observer.note != nullptr || JobScope::Current() == nullptr;
  const Observer& listener = told ? observer : JobScope::Current()->observer();
  SMELT_ASSIGN_OR_RETURN(DeviceOptions chosen, Chosen(options, precision, listener));
  chosen.check = false;  // no more
  if (chosen.device == "cpu") {
    if (options.device_layers || options.device_memory > 0) listener.Warn(NoDeviceFor(options));
    chosen.device_layers.reset();
    chosen.device_memory = 0;
  }
  return chosen;
}

CacheType CacheTypeOf(const DeviceOptions& options) {
  return options.cache_type == "f16" ? CacheType::kF16 : CacheType::kF32;
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

DeviceList ListDevices(bool check) {
  DeviceList list;
  list.devices.push_back({.id = "cpu", .name = "processor", .driver = "", .problem = ""});
  const absl::StatusOr<std::vector<PhysicalDevice>> devices = Devices();
  if (!devices.ok()) {
    list.problem = std::string(devices.status().message());
    return list;
  }
  for (size_t i = 0; i < devices->size(); ++i) {
    const PhysicalDevice& device = (*devices)[i];
    DeviceInfo info{.id = DeviceId(i),
                    .name = device.name,
                    .driver = device.driver,
                    .software = device.software,
                    .memory = device.memory,
                    .problem = device.missing.empty() ? "" : "lacks " + device.missing};
    if (check && info.problem.empty()) {
      const absl::Status passed = Try(i, device, Precision::kF32);
      info.checked = true;
      if (!passed.ok()) info.problem = Cat("fails its self-check: ", Reason(passed));
    }
    list.devices.push_back(std::move(info));
  }
  return list;
}

}  // namespace smelt
