#include <cmath>

#include "infer/vulkan/backend.h"
#include "lib/base/status.h"

namespace smelt::vulkan {
namespace {

absl::StatusOr<Memory> Uploaded(Device& device, std::span<const float> values) {
  SMELT_ASSIGN_OR_RETURN(Memory memory, device.Allocate(values.size_bytes()));
  SMELT_RETURN_IF_ERROR(device.Write(memory, 0, std::as_bytes(values)));
  return memory;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Buffer>> DeviceBuffer::Copy(Place) const {
  SMELT_ASSIGN_OR_RETURN(Memory copy, device_.Allocate(memory.size()));
  SMELT_RETURN_IF_ERROR(device_.Copy(memory, 0, copy, 0, memory.size()));
  return std::unique_ptr<Buffer>(
      std::make_unique<DeviceBuffer>(device_, std::move(copy), features));
}

DeviceBatch::DeviceBatch(Device& device, std::span<const Sequence> sequences, uint64_t length)
    : Batch(sequences), device_(device), length_(length) {
  for (const Sequence& s : sequences) {
    segments.push_back({tokens, static_cast<uint32_t>(s.tokens), s.position});
    tokens += static_cast<uint32_t>(s.tokens);
  }
}

absl::StatusOr<uint64_t> DeviceBatch::Enough(Memory& memory, uint64_t floats) {
  if (memory.size() < floats * sizeof(float)) {
    memory = Memory();
    SMELT_ASSIGN_OR_RETURN(memory, device_.Allocate(floats * sizeof(float)));
  }
  return memory.address();
}

absl::StatusOr<uint64_t> DeviceBatch::Scratch(uint64_t floats) { return Enough(scratch_, floats); }

absl::StatusOr<uint64_t> DeviceBatch::Of(Temporary which, uint64_t floats) {
  return Enough(temporaries_[static_cast<size_t>(which)], floats);
}

absl::StatusOr<const DeviceBatch::Angles*> DeviceBatch::AnglesOf(const Rope& rope) {
  const std::vector<double> frequency = rope.FrequencyAt(length_);
  const double magnitude = length_ > rope.long_from ? rope.long_magnitude : rope.magnitude;
  for (const auto& angles : angles_) {
    if (angles->frequency == frequency && angles->magnitude == magnitude) return angles.get();
  }
  const size_t pairs = frequency.size();
  std::vector<float> cosines(tokens * pairs), sines(tokens * pairs);
  for (const Segment& s : segments) {
    for (uint32_t t = 0; t < s.tokens; ++t) {
      for (size_t j = 0; j < pairs; ++j) {
        const double angle = static_cast<double>(s.position + t) * frequency[j];
        cosines[(s.first + t) * pairs + j] = static_cast<float>(std::cos(angle) * magnitude);
        sines[(s.first + t) * pairs + j] = static_cast<float>(std::sin(angle) * magnitude);
      }
    }
  }
  auto angles = std::make_unique<Angles>();
  angles->frequency = frequency;
  angles->magnitude = magnitude;
  SMELT_ASSIGN_OR_RETURN(angles->cos, Uploaded(device_, cosines));
  SMELT_ASSIGN_OR_RETURN(angles->sin, Uploaded(device_, sines));
  angles_.push_back(std::move(angles));
  return angles_.back().get();
}

absl::StatusOr<uint64_t> DeviceBatch::TemperaturesOf(double temperature, uint64_t length) {
  for (const Temperatures& known : temperatures_) {
    if (known.temperature == temperature && known.length == length) return known.factors.address();
  }
  std::vector<float> factors(tokens);
  for (const Segment& s : segments) {
    for (uint32_t t = 0; t < s.tokens; ++t) {
      const double steps = static_cast<double>((s.position + t) / length);
      factors[s.first + t] = static_cast<float>(1 + temperature * std::log(1 + steps));
    }
  }
  SMELT_ASSIGN_OR_RETURN(Memory memory, Uploaded(device_, factors));
  temperatures_.push_back({temperature, length, std::move(memory)});
  return temperatures_.back().factors.address();
}

}  // namespace smelt::vulkan
