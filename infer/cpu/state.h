// What a layer keeps of each sequence.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "infer/backend.h"
#include "infer/cpu/memory.h"

namespace smelt::cpu {

struct SequenceState {
  /// Keys [position][kv_heads * key_size] and values, row after row.
  Array<float> keys, values;
  uint64_t positions = 0;
  /// The last taps - 1 inputs of the convolution, [tap][channel], and the recurrent state.
  Array<float> window, recurrent;
  bool started = false;          ///< window and recurrent hold something
  Place place = Place::kMemory;  ///< of keys and values

  /// Room for `more` positions.
  absl::Status Extend(uint64_t more, uint64_t key_columns, uint64_t value_columns);
};

class CpuState : public State {
 public:
  explicit CpuState(size_t sequences, Place place = Place::kMemory) : sequences(sequences) {
    for (SequenceState& s : this->sequences) s.place = place;
  }
  std::unique_ptr<State> Copy() const override;
  void Clear() override;
  bool Truncate(uint64_t positions) override;
  /// `size` floats in that part of every sequence, zero where it has not started.
  void Prepare(Array<float> SequenceState::*part, size_t size);
  void SetStarted();

  std::vector<SequenceState> sequences;
};

}  // namespace smelt::cpu
