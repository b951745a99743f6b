// From what was asked for to what computes.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "infer/backend.h"
#include "smelt/devices.h"

namespace smelt {

/// The device that is meant, by its DeviceInfo::id: "cpu" or "vulkan:N". kUsage for a name that
/// means nothing, kNotFound for a device that is not there, kUnsupported where nothing of Vulkan
/// is.
absl::StatusOr<DeviceOptions> ChooseDevice(const DeviceOptions& options);

/// The same errors, and what the device has to say.
absl::StatusOr<std::unique_ptr<Backend>> OpenBackend(const DeviceOptions& options);
/// The device that is meant, and behind another one than the processor the processor.
absl::StatusOr<std::vector<std::unique_ptr<Backend>>> OpenBackends(const DeviceOptions& options);

}  // namespace smelt
