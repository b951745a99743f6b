// A model in memory: F32 tensors whose values follow from their place, with faults on demand.
#pragma once

#include <atomic>
#include <cmath>
#include <string>
#include <vector>

#include "lib/base/status.h"
#include "lib/model/model_source.h"

namespace smelt::testing {

class FakeSource : public ModelSource {
 public:
  FakeSource() { metadata_.Set("general.architecture", "fake"); }

  void Add(const std::string& name, std::vector<uint64_t> ne, TensorType type = TensorType::kF32) {
    TensorInfo info;
    info.name = name;
    info.shape.dims = static_cast<int>(ne.size());
    for (size_t i = 0; i < ne.size(); ++i) info.shape.ne[i] = ne[i];
    info.type = type;
    tensors_.push_back(info);
    BuildIndex();
  }

  /// The value at (row, column) of a tensor: smooth, different everywhere, within (-1, 1).
  static float Value(size_t tensor, uint64_t row, uint64_t column) {
    return static_cast<float>(std::sin(0.37 * static_cast<double>(tensor) +
                                       1.3 * static_cast<double>(row) +
                                       0.011 * static_cast<double>(column)));
  }

  const Metadata& metadata() const override { return metadata_; }
  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  const std::string& name() const override { return name_; }
  std::string identity() const override { return identity_; }

  absl::Status ReadRows(size_t tensor, uint64_t first, uint64_t count, float* out) const override {
    ++reads_;
    int64_t left = reads_left_;
    while (left > 0 && !reads_left_.compare_exchange_weak(left, left - 1)) {
    }
    if (left == 0) return Error(ErrorCode::kIo, "injected read error");
    const uint64_t columns = tensors_[tensor].shape.columns();
    for (uint64_t r = 0; r < count; ++r) {
      for (uint64_t c = 0; c < columns; ++c) {
        out[r * columns + c] = tensor == bad_tensor_ && first + r == bad_row_ && c == bad_column_
                                   ? bad_value_
                                   : Value(tensor, first + r, c);
      }
    }
    return absl::OkStatus();
  }

  absl::Status ReadRawRows(size_t tensor, uint64_t first, uint64_t count,
                           std::byte* out) const override {
    return ReadRows(tensor, first, count, reinterpret_cast<float*>(out));
  }

  absl::StatusOr<MappedRows> MapRows(size_t) const override {
    return Error(ErrorCode::kUnsupported, "not mapped");
  }

  Metadata metadata_;
  std::vector<TensorInfo> tensors_;
  std::string name_ = "fake", identity_ = "fake-1";
  size_t bad_tensor_ = SIZE_MAX;
  uint64_t bad_row_ = 0, bad_column_ = 0;
  float bad_value_ = 0;
  mutable std::atomic<int64_t> reads_left_{-1};  ///< reads before all fail; negative: none does
  mutable std::atomic<uint64_t> reads_{0};
};

}  // namespace smelt::testing
