// Uninitialised, aligned arrays of floats, and scratch that a thread keeps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "hwy/aligned_allocator.h"

namespace smelt::cpu {

/// An aligned array; its elements are not initialised. Allocation failure is seen as !ok().
template <typename T>
class Array {
 public:
  Array() = default;
  explicit Array(size_t count)
      : data_(hwy::AllocateAligned<T>(count == 0 ? 1 : count)), size_(count) {}

  bool ok() const { return data_ != nullptr; }
  size_t size() const { return data_ == nullptr ? 0 : size_; }
  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  T& operator[](size_t i) { return data_.get()[i]; }
  const T& operator[](size_t i) const { return data_.get()[i]; }

  /// Room for `count` elements; the old ones are lost when it grows.
  T* Reserve(size_t count) {
    if (data_ == nullptr || size_ < count) {
      data_.reset();
      data_ = hwy::AllocateAligned<T>(count == 0 ? 1 : count);
      size_ = count;
    }
    return data_.get();
  }
  /// The same, and the first `keep` elements stay.
  bool Grow(size_t count, size_t keep) {
    if (data_ != nullptr && size_ >= count) return true;
    Array next(count);
    if (!next.ok()) return false;
    if (keep > 0) std::memcpy(next.data(), data_.get(), keep * sizeof(T));
    *this = std::move(next);
    return true;
  }
  Array Clone() const {
    Array copy(size_);
    if (data_ != nullptr && copy.ok()) std::memcpy(copy.data(), data_.get(), size_ * sizeof(T));
    return data_ == nullptr ? Array() : std::move(copy);
  }

 private:
  hwy::AlignedFreeUniquePtr<T[]> data_;
  size_t size_ = 0;
};

}  // namespace smelt::cpu
