// What a layer keeps of each sequence.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "infer/backend.h"
#include "infer/cpu/memory.h"

namespace smelt::cpu {

/// Keys or values of a sequence, [head][position][size]: what a head reads lies together.
class HeadCache {
 public:
  explicit HeadCache(CacheType type = CacheType::kF32) : type_(type) {}
  /// Room for so many positions; the first `kept` stay, written with the same heads and size.
  absl::Status Reserve(uint32_t heads, uint32_t size, uint64_t positions, uint64_t kept,
                       Place place);
  bool HasRoom(uint32_t heads, uint32_t size, uint64_t positions) const;
  uint32_t heads() const { return heads_; }
  uint32_t size() const { return size_; }  ///< of a head's row
  /// Rows of one head, from a position on. kUnsupported where f16 does not hold a value.
  absl::Status Write(uint32_t head, uint64_t first, uint64_t count, const float* rows);
  /// The same rows: where they lie, or in `widened`, if they are f16.
  const float* Read(uint32_t head, uint64_t first, uint64_t count, Array<float>& widened) const;
  HeadCache Clone() const;

 private:
  size_t ElementBytes() const { return type_ == CacheType::kF16 ? 2 : sizeof(float); }
  /// Where a row begins in the bytes.
  size_t At(uint32_t head, uint64_t position) const {
    return (head * room_ + position) * size_ * ElementBytes();
  }

  CacheType type_;
  Array<std::byte> bytes_;
  uint32_t heads_ = 0, size_ = 0;
  uint64_t room_ = 0;  // positions
};

struct SequenceState {
  HeadCache keys, values;
  uint64_t positions = 0;
  /// The last taps - 1 inputs of the convolution, [tap][channel], and the recurrent state.
  Array<float> window, recurrent;
  bool started = false;          ///< window and recurrent hold something
  Place place = Place::kMemory;  ///< of keys and values

  /// Room for `more` positions.
  absl::Status Extend(uint64_t more, uint32_t heads, uint32_t key_size, uint32_t value_size);
};

class CpuState : public State {
 public:
  explicit CpuState(size_t sequences, Place place = Place::kMemory,
                    CacheType cache = CacheType::kF32)
      : sequences(sequences) {
    for (SequenceState& s : this->sequences) {
      s.keys = HeadCache(cache);
      s.values = HeadCache(cache);
      s.place = place;
    }
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
