// Uninitialised, aligned arrays of floats, and scratch that a thread keeps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

#include "absl/status/statusor.h"
#include "hwy/aligned_allocator.h"
#include "infer/backend.h"
#include "lib/base/status.h"
#include "lib/base/temporary_file.h"

namespace smelt::cpu {

/// An aligned array; its elements are not initialised. Throws std::bad_alloc, as a std::vector
/// does.
template <typename T>
class Array {
 public:
  Array() = default;
  explicit Array(size_t count)
      : data_(hwy::AllocateAligned<T>(count == 0 ? 1 : count).release()), size_(count) {
    if (data_ == nullptr) throw std::bad_alloc();
  }

  /// The pages are those of a temporary file; zeros.
  static absl::StatusOr<Array> InFile(size_t count) {
    const uint64_t bytes = (count == 0 ? 1 : count) * sizeof(T);
    SMELT_ASSIGN_OR_RETURN(void* const memory, MapTemporaryFile(bytes, "the text's activations"));
    Array array;
    array.data_ = {static_cast<T*>(memory), Release{bytes}};
    array.size_ = count;
    return array;
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
  struct Release {
    uint64_t mapped = 0;  ///< bytes of a temporary file; 0: ordinary memory
    void operator()(T* memory) const {
      mapped != 0 ? UnmapTemporaryFile(memory, mapped) : hwy::AlignedFreer()(memory);
    }
  };
  std::unique_ptr<T[], Release> data_;
  size_t size_ = 0;
};

template <typename T = float>
absl::StatusOr<Array<T>> NewArray(size_t count, Place place) {
  if (place == Place::kTemporaryFile) return Array<T>::InFile(count);
  return Array<T>(count);
}

}  // namespace smelt::cpu
