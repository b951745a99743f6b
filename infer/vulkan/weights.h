// Weights as the device holds them: small ones as f32, matrices in their block format.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "infer/backend.h"
#include "infer/host_rows.h"
#include "infer/vulkan/device.h"

namespace smelt::vulkan {

/// Some rows of a weight on the device, with what their decoded values are multiplied with.
class DeviceRows {
 public:
  DeviceRows() = default;
  DeviceRows(Memory rows, Memory factors, uint64_t first, uint32_t row_bytes)
      : rows_(std::move(rows)),
        factors_(std::move(factors)),
        first_(first),
        row_bytes_(row_bytes) {}

  bool present() const { return rows_.size() != 0; }
  /// Where row 0 of the weight would be.
  uint64_t address() const { return rows_.address() - first_ * row_bytes_; }
  Range range() const { return RangeOf(rows_); }
  Range factor_range() const { return RangeOf(factors_); }
  /// The same of the factors; 0: there are none.
  uint64_t factors() const {
    return factors_.size() == 0 ? 0 : factors_.address() - first_ * sizeof(float);
  }

 private:
  Memory rows_, factors_;
  uint64_t first_ = 0;
  uint32_t row_bytes_ = 0;
};

class DeviceWeight : public Weight {
 public:
  static absl::StatusOr<std::shared_ptr<const DeviceWeight>> Load(const ModelSource& source,
                                                                  TensorRef tensor, WeightUse use);
  explicit DeviceWeight(HostRows host) : host_(std::move(host)) {}

  /// Brings the values to the device, unless they are there.
  absl::Status Bring(Device& device) const;
  const DeviceRows& rows() const { return rows_; }  ///< once they are there
  /// Some rows, for as long as they are wanted.
  absl::StatusOr<DeviceRows> BringRows(Device& device, uint64_t first, uint64_t count) const;

  uint64_t bytes() const override { return host_.rows() * row_bytes_; }
  uint32_t row_bytes() const { return row_bytes_; }
  /// Of its shaders: "q4_k".
  const std::string& format() const { return format_; }
  /// "matvec_q4_k"; of inputs rounded to 8 bits "matvec8_q4_k".
  const std::string& vector_shader(bool rounded) const { return vector_shaders_[rounded]; }
  const std::string& matrix_shader(bool rounded) const { return matrix_shaders_[rounded]; }
  /// Whether its elements are integers with scales, which take inputs rounded to 8 bits.
  bool integer() const { return integer_; }

  /// The same weight as the processor reads it, where it lies.
  const HostRows& host() const { return host_; }

 private:
  absl::Status Write(Device& device, const Memory& to, uint64_t first, uint64_t count) const;

  const HostRows host_;
  uint32_t row_bytes_ = 0;
  bool integer_ = false;
  std::string format_;
  std::array<std::string, 2> vector_shaders_, matrix_shaders_;  ///< [inputs are rounded]
  mutable DeviceRows rows_;
};

inline const DeviceWeight& AsDevice(const WeightPtr& w) {
  return static_cast<const DeviceWeight&>(*w);
}

}  // namespace smelt::vulkan
