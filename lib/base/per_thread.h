// What every thread has one of.
#pragma once

#include <pthread.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

namespace smelt {

/// A T of each thread, made when the thread first asks for it and destroyed when the thread ends.
/// For objects of static storage duration. Unlike a `thread_local T`, for which the C library ends
/// the process when it finds no memory to note the destructor in, it throws std::bad_alloc.
template <typename T>
class PerThread {
 public:
  PerThread() {
    const auto destroy = [](void* object) { delete static_cast<T*>(object); };
    if (pthread_key_create(&key_, destroy) != 0) throw std::bad_alloc();
  }
  PerThread(const PerThread&) = delete;
  PerThread& operator=(const PerThread&) = delete;

  T& operator*() const {
    if (void* const known = pthread_getspecific(key_)) return *static_cast<T*>(known);
    auto object = std::make_unique<T>();
    if (pthread_setspecific(key_, object.get()) != 0) throw std::bad_alloc();
    return *object.release();
  }
  T* operator->() const { return &**this; }

 private:
  pthread_key_t key_;
};

/// Bytes that are not initialised.
class ByteBuffer {
 public:
  /// Room for `size` bytes; the old ones are lost when it grows.
  std::byte* Reserve(uint64_t size) {
    if (size > size_) {
      bytes_.reset();
      size_ = 0;
      bytes_ = std::make_unique_for_overwrite<std::byte[]>(size);
      size_ = size;
    }
    return bytes_.get();
  }

 private:
  std::unique_ptr<std::byte[]> bytes_;
  uint64_t size_ = 0;
};

}  // namespace smelt
