#include "infer/vulkan/state.h"

#include <algorithm>
#include <new>

#include "lib/base/status.h"

namespace smelt::vulkan {
namespace {

absl::StatusOr<Memory> CopyOf(Device& device, const Memory& from) {
  if (from.size() == 0) return Memory();
  SMELT_ASSIGN_OR_RETURN(Memory copy, device.Allocate(from.size()));
  SMELT_RETURN_IF_ERROR(device.Copy(from, 0, copy, 0, from.size()));
  return copy;
}

}  // namespace

std::unique_ptr<State> DeviceState::Copy() const {
  auto copy = std::make_unique<DeviceState>(device_, sequences.size(), halves_);
  for (size_t i = 0; i < sequences.size(); ++i) {
    const DeviceSequence& from = sequences[i];
    DeviceSequence& to = copy->sequences[i];
    to.positions = from.positions;
    to.started = from.started;
    for (Memory DeviceSequence::*part : {&DeviceSequence::keys, &DeviceSequence::values,
                                         &DeviceSequence::window, &DeviceSequence::recurrent}) {
      absl::StatusOr<Memory> memory = CopyOf(*device_, from.*part);
      if (!memory.ok()) throw std::bad_alloc();
      to.*part = *std::move(memory);
    }
  }
  return copy;
}

absl::Status DeviceState::Extend(DeviceSequence& sequence, uint64_t more, uint64_t key_columns,
                                 uint64_t value_columns) {
  const uint64_t need = sequence.positions + more;
  const auto grow = [&](Memory& memory, uint64_t columns) -> absl::Status {
    const uint64_t row = RowBytes(columns);
    if (memory.size() >= need * row) return absl::OkStatus();
    // A growing cache is copied a few times in its life; the first allocation is exact.
    const uint64_t room = sequence.positions == 0 ? need : need + need / 2;
    SMELT_ASSIGN_OR_RETURN(Memory larger, device_->Allocate(room * row));
    SMELT_RETURN_IF_ERROR(device_->Copy(memory, 0, larger, 0, sequence.positions * row));
    memory = std::move(larger);
    return absl::OkStatus();
  };
  SMELT_RETURN_IF_ERROR(grow(sequence.keys, key_columns));
  return grow(sequence.values, value_columns);
}

absl::Status DeviceState::Prepare(Memory DeviceSequence::*part, uint64_t floats) {
  for (DeviceSequence& sequence : sequences) {
    Memory& memory = sequence.*part;
    const bool enough = memory.size() >= floats * sizeof(float);
    if (sequence.started && enough) continue;
    if (!enough) {
      SMELT_ASSIGN_OR_RETURN(memory, device_->Allocate(floats * sizeof(float)));
    }
    SMELT_RETURN_IF_ERROR(device_->Clear(memory));
  }
  return absl::OkStatus();
}

void DeviceState::SetStarted() {
  for (DeviceSequence& sequence : sequences) sequence.started = true;
}

bool DeviceState::Truncate(uint64_t positions) {
  for (DeviceSequence& sequence : sequences) {
    if (sequence.window.size() > 0 || sequence.recurrent.size() > 0) return false;
    sequence.positions = std::min(sequence.positions, positions);
  }
  return true;
}

void DeviceState::Clear() {
  for (DeviceSequence& sequence : sequences) {
    sequence.positions = 0;
    sequence.started = false;
  }
}

}  // namespace smelt::vulkan
