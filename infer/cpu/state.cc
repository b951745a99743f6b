#include "infer/cpu/state.h"

#include <algorithm>
#include <new>

#include "lib/base/status.h"

namespace smelt::cpu {

absl::Status SequenceState::Extend(uint64_t more, uint64_t key_columns, uint64_t value_columns) {
  const uint64_t need = positions + more;
  if (keys.size() >= need * key_columns && values.size() >= need * value_columns)
    return absl::OkStatus();
  // A growing cache is copied a few times in its life; the first allocation is exact.
  const uint64_t room = positions == 0 ? need : need + need / 2;
  if (place == Place::kTemporaryFile && positions == 0) {
    SMELT_ASSIGN_OR_RETURN(keys, NewArray(room * key_columns, place));
    SMELT_ASSIGN_OR_RETURN(values, NewArray(room * value_columns, place));
    return absl::OkStatus();
  }
  try {
    keys.Grow(room * key_columns, positions * key_columns);
    values.Grow(room * value_columns, positions * value_columns);
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
