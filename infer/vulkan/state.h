// What a layer keeps of each sequence, on the device.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "infer/backend.h"
#include "infer/vulkan/device.h"

namespace smelt::vulkan {

struct DeviceSequence {
  /// Keys [position][key columns] and values, row after row.
  Memory keys, values;
  uint64_t positions = 0;
  /// The last taps - 1 inputs of the convolution, [tap][channel], and the recurrent state.
  Memory window, recurrent;
  bool started = false;  ///< window and recurrent hold something
};

class DeviceState : public State {
 public:
  /// `halves`: keys and values are kept as f16.
  DeviceState(std::shared_ptr<Device> device, size_t count, bool halves)
      : sequences(count), device_(std::move(device)), halves_(halves) {}

  const Device& device() const { return *device_; }
  std::unique_ptr<State> Copy() const override;
  void Clear() override;
  bool Truncate(uint64_t positions) override;

  /// Room for `more` positions of a sequence, whose rows have so many values.
  absl::Status Extend(DeviceSequence& sequence, uint64_t more, uint64_t key_columns,
                      uint64_t value_columns);
  /// `floats` in that part of every sequence, zero where it has not started.
  absl::Status Prepare(Memory DeviceSequence::*part, uint64_t floats);
  void SetStarted();
  /// Whether rows of so many values are kept as f16: two of them are a word.
  bool Halves(uint64_t columns) const { return halves_ && columns % 2 == 0; }
  uint64_t RowBytes(uint64_t columns) const { return columns * (Halves(columns) ? 2 : 4); }

  std::vector<DeviceSequence> sequences;

 private:
  const std::shared_ptr<Device> device_;
  const bool halves_;
};

}  // namespace smelt::vulkan
