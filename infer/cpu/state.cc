#include "infer/cpu/state.h"

#include <algorithm>
#include <new>

#include "lib/base/status.h"

namespace smelt::cpu {

bool HeadCache::HasRoom(uint32_t heads, uint32_t size, uint64_t positions) const {
  return heads == heads_ && size == size_ && positions <= room_;
}

absl::Status HeadCache::Reserve(uint32_t heads, uint32_t size, uint64_t positions, uint64_t kept,
                                Place place) {
  const uint64_t columns = uint64_t{heads} * size;
  HeadCache next;
  if (kept > 0) {
    next.values_ = Array<float>(positions * columns);
    for (uint32_t h = 0; h < heads; ++h)
      std::copy_n(Read(h, 0), kept * size, next.values_.data() + h * positions * size);
  } else {
    next.values_ = std::move(values_);  // another layer's, or of an earlier text
    *this = HeadCache();
    if (next.values_.size() < positions * columns || columns == 0) {
      next.values_ = Array<float>();
      SMELT_ASSIGN_OR_RETURN(next.values_, NewArray(positions * columns, place));
    } else {
      positions = next.values_.size() / columns;
    }
  }
  next.heads_ = heads, next.size_ = size, next.room_ = positions;
  *this = std::move(next);
  return absl::OkStatus();
}

void HeadCache::Write(uint32_t head, uint64_t first, uint64_t count, const float* rows) {
  std::copy_n(rows, count * size_, values_.data() + (head * room_ + first) * size_);
}

HeadCache HeadCache::Clone() const {
  HeadCache copy;
  copy.values_ = values_.Clone();
  copy.heads_ = heads_, copy.size_ = size_, copy.room_ = room_;
  return copy;
}

absl::Status SequenceState::Extend(uint64_t more, uint32_t heads, uint32_t key_size,
                                   uint32_t value_size) {
  const uint64_t need = positions + more;
  if (keys.HasRoom(heads, key_size, need) && values.HasRoom(heads, value_size, need))
    return absl::OkStatus();
  // A growing cache is copied a few times in its life; the first allocation is exact.
  const uint64_t room = positions == 0 ? need : need + need / 2;
  try {
    SMELT_RETURN_IF_ERROR(keys.Reserve(heads, key_size, room, positions, place));
    SMELT_RETURN_IF_ERROR(values.Reserve(heads, value_size, room, positions, place));
  } catch (const std::bad_alloc&) {
    return Error(ErrorCode::kOutOfMemory, "no memory for keys and values of ", room,
                 " positions; use a shorter context");
  }
  return absl::OkStatus();
}

std::unique_ptr<State> CpuState::Copy() const {
  auto copy = std::make_unique<CpuState>(sequences.size());
  for (size_t i = 0; i < sequences.size(); ++i) {
    const SequenceState& from = sequences[i];
    SequenceState& to = copy->sequences[i];
    to.keys = from.keys.Clone();
    to.values = from.values.Clone();
    to.positions = from.positions;
    to.window = from.window.Clone();
    to.recurrent = from.recurrent.Clone();
    to.started = from.started;
  }
  return copy;
}

void CpuState::Prepare(Array<float> SequenceState::*part, size_t size) {
  for (SequenceState& s : sequences) {
    Array<float>& values = s.*part;
    if (s.started && values.size() >= size) continue;
    std::fill_n(values.Reserve(size), size, 0.0f);
  }
}

void CpuState::SetStarted() {
  for (SequenceState& s : sequences) s.started = true;
}

bool CpuState::Truncate(uint64_t positions) {
  for (SequenceState& s : sequences) {
    if (s.window.size() > 0 || s.recurrent.size() > 0) return false;
    s.positions = std::min(s.positions, positions);
  }
  return true;
}

void CpuState::Clear() {
  for (SequenceState& s : sequences) {
    s.positions = 0;
    s.started = false;
  }
}

}  // namespace smelt::cpu
