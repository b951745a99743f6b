// From what was asked for to what computes.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "infer/backend.h"
#include "smelt/devices.h"

namespace smelt {

/// The device that is meant, by its DeviceInfo::id: "cpu" or "vulkan:N". One that was named must
/// pass a self-check (self_check.h), unless the options say otherwise; where the choice is free,
/// one that does not, or that lacks something, is passed over with a note. A process checks a
/// device once. kUsage for a name that means nothing, kNotFound for a device that is not there,
/// kUnsupported for one that cannot be used and where nothing of Vulkan is.
absl::StatusOr<DeviceOptions> ChooseDevice(const DeviceOptions& options,
                                           Precision precision = Precision::kF32,
                                           const Observer& observer = {});

/// For tests.
struct DeviceTrials {
  static inline bool software = false;  ///< a free choice takes software devices as cards
  /// What devices were found to be: they are checked again.
  static void Forget();
};

/// Of options that ChooseDevice does not refuse.
CacheType CacheTypeOf(const DeviceOptions& options);

/// The same errors, and what the device has to say.
absl::StatusOr<std::unique_ptr<Backend>> OpenBackend(const DeviceOptions& options);
/// The device that is meant, and behind another one than the processor the processor.
absl::StatusOr<std::vector<std::unique_ptr<Backend>>> OpenBackends(const DeviceOptions& options);

}  // namespace smelt
