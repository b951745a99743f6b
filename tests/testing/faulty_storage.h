// A storage that fails on demand.
#pragma once

#include <atomic>
#include <memory>
#include <utility>

#include "lib/base/status.h"
#include "lib/base/storage.h"

namespace smelt::testing {

/// Passes `good_reads` calls of ReadAt on to `inner`; every later one fails as a broken disk would.
/// Cannot be mapped.
class FaultyStorage : public Storage {
 public:
  FaultyStorage(std::shared_ptr<const Storage> inner, int good_reads)
      : inner_(std::move(inner)), left_(good_reads) {}

  const std::string& name() const override { return inner_->name(); }
  uint64_t size() const override { return inner_->size(); }
  std::string identity() const override { return inner_->identity(); }
  absl::Status ReadAt(uint64_t offset, std::span<std::byte> out) const override {
    if (left_.fetch_sub(1) <= 0) {
      return Error(ErrorCode::kIo, name(), ": reading at offset ", offset, " failed: injected");
    }
    return inner_->ReadAt(offset, out);
  }
  absl::StatusOr<std::span<const std::byte>> Map() const override {
    return Error(ErrorCode::kUnsupported, name(), " cannot be mapped");
  }

 private:
  std::shared_ptr<const Storage> inner_;
  mutable std::atomic<int> left_;
};

}  // namespace smelt::testing
