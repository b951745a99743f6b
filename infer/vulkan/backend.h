// The Vulkan backend's own forms of the engine's objects. A buffer is [token][feature].
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "infer/backend.h"
#include "infer/vulkan/device.h"

namespace smelt::vulkan {

/// A backend that computes on this device, with at most so many bytes of its memory (0: nearly
/// all). `patience`: of Device::Open.
absl::StatusOr<std::unique_ptr<Backend>> NewBackend(const PhysicalDevice& physical,
                                                    uint64_t memory_limit,
                                                    uint64_t patience = kForever);

class DeviceBuffer : public Buffer {
 public:
  DeviceBuffer(Device& device, Memory memory, uint32_t features)
      : memory(std::move(memory)), features(features), device_(device) {}
  absl::StatusOr<std::unique_ptr<Buffer>> Copy(Place place) const override;

  Memory memory;
  uint32_t features = 0;

 private:
  Device& device_;
};

class DeviceProgram : public Program {
 public:
  Graph graph;
  Precision precision = Precision::kF32;
};

/// What operations need besides their buffers; of one batch, used by one after the other.
enum class Temporary {
  kRouted,
  kSelection,
  kChosen,
  kExpertWeights,
  kSorted,
  kHidden,
  kSecond,
  kResult,
  kQuery,
  kLatent,
  kRounded,
  kCount
};

class DeviceBatch : public Batch {
 public:
  struct Segment {
    uint32_t first = 0, tokens = 0;  ///< in the batch
    uint64_t position = 0;           ///< of the first token in its sequence
  };

  DeviceBatch(Device& device, std::span<const Sequence> sequences, uint64_t length);

  /// cos and sin of a rotation at the batch's positions, [token][pair] each.
  struct Angles {
    std::vector<double> frequency;
    double magnitude = 1;
    Memory cos, sin;
  };
  absl::StatusOr<const Angles*> AnglesOf(const Rope& rope);
  /// 1 + temperature ln(1 + floor(position / length)) of each token.
  absl::StatusOr<uint64_t> TemperaturesOf(double temperature, uint64_t length);
  /// Address of at least so many floats.
  absl::StatusOr<uint64_t> Scratch(uint64_t floats);
  absl::StatusOr<uint64_t> Of(Temporary which, uint64_t floats);
  const Memory& scratch() const { return scratch_; }
  const Memory& temporary(Temporary which) const {
    return temporaries_[static_cast<size_t>(which)];
  }

  std::vector<Segment> segments;
  uint32_t tokens = 0;

 private:
  struct Temperatures {
    double temperature = 0;
    uint64_t length = 1;
    Memory factors;
  };
  absl::StatusOr<uint64_t> Enough(Memory& memory, uint64_t floats);

  Device& device_;
  const uint64_t length_;  // positions of the sequence in use
  Memory scratch_;
  Memory temporaries_[static_cast<size_t>(Temporary::kCount)];
  std::vector<std::unique_ptr<Angles>> angles_;
  std::vector<Temperatures> temperatures_;
};

}  // namespace smelt::vulkan
