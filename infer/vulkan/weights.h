// Weights as the device holds them: small ones as f32, matrices in their block format.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "infer/backend.h"
#include "infer/cpu/weights.h"
#include "infer/vulkan/device.h"

namespace smelt::vulkan {

class DeviceWeight : public Weight {
 public:
  static absl::StatusOr<std::shared_ptr<const DeviceWeight>> Load(const ModelSource& source,
                                                                  TensorRef tensor, WeightUse use);

  /// Brings the values to the device, unless they are there.
  absl::Status Bring(Device& device) const;

  // Of a weight that is there.
  uint64_t address() const { return memory_.address(); }
  uint64_t factors() const { return factors_.address(); }  ///< of rows; 0: none
  uint32_t row_bytes() const { return row_bytes_; }
  /// Of its shaders: "q4_k".
  const std::string& format() const { return format_; }

  /// The same weight as the processor reads it, where it lies.
  const cpu::CpuWeight& host() const { return *host_; }

 private:
  absl::Status BringRows(Device& device) const;

  std::shared_ptr<const cpu::CpuWeight> host_;
  bool values_ = false;
  uint32_t row_bytes_ = 0;
  std::string format_, name_;
  mutable Memory memory_, factors_;
};

inline const DeviceWeight& AsDevice(const WeightPtr& w) {
  return static_cast<const DeviceWeight&>(*w);
}

}  // namespace smelt::vulkan
