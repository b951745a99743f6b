#include "infer/cpu/state.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>

#include "lib/base/status.h"
#include "quant/block_kernels.h"

namespace smelt::cpu {

bool HeadCache::HasRoom(uint32_t heads, uint32_t size, uint64_t positions) const {
  return heads == heads_ && size == size_ && positions <= room_;
}

absl::Status HeadCache::Reserve(uint32_t heads, uint32_t size, uint64_t positions, uint64_t kept,
                                Place place) {
  const uint64_t row = size * ElementBytes(), all_heads = heads * row;
  HeadCache next(type_);
  if (kept > 0) {
    next.bytes_ = Array<std::byte>(positions * all_heads);
    for (uint32_t h = 0; h < heads; ++h)
      std::copy_n(bytes_.data() + At(h, 0), kept * row, next.bytes_.data() + h * positions * row);
  } else {
    next.bytes_ = std::move(bytes_);  // another layer's, or of an earlier text
    *this = HeadCache(type_);
    if (next.bytes_.size() < positions * all_heads || all_heads == 0) {
      next.bytes_ = Array<std::byte>();
      SMELT_ASSIGN_OR_RETURN(next.bytes_, NewArray<std::byte>(positions * all_heads, place));
    } else {
      positions = next.bytes_.size() / all_heads;
    }
  }
  next.heads_ = heads, next.size_ = size, next.room_ = positions;
  *this = std::move(next);
  return absl::OkStatus();
}

absl::Status HeadCache::Write(uint32_t head, uint64_t first, uint64_t count, const float* rows) {
  std::byte* const to = bytes_.data() + At(head, first);
  if (type_ == CacheType::kF32) {
    std::memcpy(to, rows, count * size_ * sizeof(float));
    return absl::OkStatus();
  }
  F32ToF16(rows, count * size_, to);
  constexpr float kTooMuch = 65520;  // and more is rounded to infinity
  for (size_t i = 0; i < count * size_; ++i) {
    if (std::fabs(rows[i]) >= kTooMuch && std::isfinite(rows[i])) {
      return Error(ErrorCode::kUnsupported, "a key or value of ", rows[i], " at position ",
                   first + i / size_, " is more than f16 holds; leave out --cache-type f16");
    }
  }
  return absl::OkStatus();
}

const float* HeadCache::Read(uint32_t head, uint64_t first, uint64_t count,
                             Array<float>& widened) const {
  const std::byte* const rows = bytes_.data() + At(head, first);
  if (type_ == CacheType::kF32) return reinterpret_cast<const float*>(rows);
  float* const values = widened.Reserve(count * size_);
  F16ToF32(rows, count * size_, values);
  return values;
}

HeadCache HeadCache::Clone() const {
  HeadCache copy(type_);
  copy.bytes_ = bytes_.Clone();
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
