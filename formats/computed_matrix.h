// Weights that several stored tensors make together: codes and scales, a base and what adapters
// add.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "formats/container.h"
#include "lib/base/status.h"
#include "lib/base/tensor_type.h"

namespace smelt {

/// The values of one tensor; its RawTensor has the name and the shape. Rows run over all dimensions
/// but the last. Thread-safe.
class ComputedMatrix {
 public:
  /// `format`: for messages, "GPTQ, 4 bits". `bits`: of a code, without the scales; 0: no codes.
  ComputedMatrix(std::string format, uint32_t bits) : format_(std::move(format)), bits_(bits) {}
  virtual ~ComputedMatrix() = default;

  /// `count` rows as f32, row after row.
  virtual absl::Status ReadRows(uint64_t first, uint64_t count, float* out) const = 0;

  /// Rows that are read well together: more than one where columns lie together.
  virtual uint64_t tile_rows() const { return 1; }

  /// The block type of GGUF that holds the same values, all of them divided by `block_factor`.
  virtual std::optional<TensorType> block_type() const { return std::nullopt; }
  virtual float block_factor() const { return 1; }
  /// `count` rows in it.
  virtual absl::Status ReadBlocks(uint64_t first, uint64_t count, std::byte* out) const {
    return Error(ErrorCode::kInternal, format_, " has no block type");
  }

  const std::string& format() const { return format_; }
  uint32_t bits() const { return bits_; }

 private:
  std::string format_;
  uint32_t bits_;
};

/// `count` of a tensor's outermost dimension from `first` on, whether it is stored or computed.
RawTensor OuterSlice(const RawTensor& tensor, uint64_t first, uint64_t count);

}  // namespace smelt
