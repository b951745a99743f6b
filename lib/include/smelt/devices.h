// What computes: the processor, or a device that Vulkan offers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "smelt/export.h"

namespace smelt {

struct DeviceOptions {
  /// "cpu"; "auto": the first graphics card that can do it, else the processor; "vulkan": the first
  /// card, "vulkan:1": that of this number, "vulkan:RTX": that with this in its name. Before it is
  /// used, a device computes a small layer that the processor computes too, once in a process. One
  /// that fails is passed over with a note ("auto"), or an error.
  std::string device = "cpu";
  uint64_t device_memory = 0;  ///< bytes of the device's memory in use at most; 0 = nearly all
  /// Where text is generated: layers of the model on the device, the first ones, the others on the
  /// processor; empty: as many as the memory has room for.
  std::optional<uint64_t> device_layers = {};
  /// How keys and values are kept where text is generated or a model evaluated: "f32", or "f16" for
  /// half the memory. A reference keeps f32.
  std::string cache_type = "f32";
  bool check = true;  ///< false: a device is used without that check
};

/// How exactly the inputs of products are kept where text is generated.
enum class Activations {
  kUsual,  ///< in f32 on a device, rounded to 8 bits on the processor
  kF32,
  kQ8,
};

/// What computes where no byte of an output depends on it.
inline DeviceOptions AnyDevice() { return {.device = "auto"}; }

struct DeviceInfo {
  std::string id;         ///< "cpu", "vulkan:0"
  std::string name;       ///< as its driver calls it
  std::string driver;     ///< "" for the processor
  bool software = false;  ///< a driver that computes on the processor: for tests
  uint64_t memory = 0;    ///< bytes of its own; 0: the machine's
  std::string problem;    ///< why it cannot be used; empty: it can, as far as is known
  bool checked = false;   ///< it was made to compute what the processor computes
};

struct DeviceList {
  std::vector<DeviceInfo> devices;  ///< the processor first
  std::string problem;              ///< why there is nothing of Vulkan; empty: there is
};

/// `check`: has every device compute what the processor computes; a part of a second each.
SMELT_EXPORT DeviceList ListDevices(bool check = false);

}  // namespace smelt
