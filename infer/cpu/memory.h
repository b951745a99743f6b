// Uninitialised, aligned arrays of floats, and scratch that a thread keeps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <utility>

#include "hwy/aligned_allocator.h"

namespace smelt::cpu {

/// An aligned array; its elements are not initialised. Throws std::bad_alloc, as a std::vector
/// does.
template <typename T>
class Array {
 public:
  Array() = default;
  explicit Array(size_t count)
      : data_(hwy::AllocateAligned<T>(count == 0 ? 1 : count)), size_(count) {
    if (data_ == nullptr) throw std::bad_alloc();
  }

  size_t size() const { return size_; }
  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  T& operator[](size_t i) { return data_.get()[i]; }
  const T& operator[](size_t i) const { return data_.get()[i]; }

  /// Room for `count` elements; the old ones are lost when it grows.
  T* Reserve(size_t count) {
    if (data_ == nullptr || size_ < count) {
      *this = Array();
      *this = Array(count);
    }
    return data_.get();
  }
  /// The same, and the first `keep` elements stay.
  void Grow(size_t count, size_t keep) {
    if (data_ != nullptr && size_ >= count) return;
    Array next(count);
    if (keep > 0) std::memcpy(next.data(), data_.get(), keep * sizeof(T));
    *this = std::move(next);
  }
  Array Clone() const {
    if (data_ == nullptr) return Array();
    Array copy(size_);
    std::memcpy(copy.data(), data_.get(), size_ * sizeof(T));
    return copy;
  }

 private:
  hwy::AlignedFreeUniquePtr<T[]> data_;
  size_t size_ = 0;
};

}  // namespace smelt::cpu
