// Parts of a stored tensor, read with few reads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/container.h"
#include "lib/base/per_thread.h"

namespace smelt {

/// A stored tensor as rows of its last dimension.
class StoredMatrix {
 public:
  StoredMatrix() = default;
  /// `columns`: other ones than the last dimension; they divide its elements. kUnsupported for a
  /// view whose rows do not lie one behind the other.
  static absl::StatusOr<StoredMatrix> Make(const RawTensor& tensor,
                                           std::optional<uint64_t> columns = std::nullopt);

  uint64_t rows() const { return rows_; }
  uint64_t columns() const { return columns_; }
  RawType dtype() const { return tensor_.dtype; }
  const RawTensor& tensor() const { return tensor_; }

  /// The elements of rows [row, +rows) and columns [column, +columns), laid together row by row.
  absl::Status Read(uint64_t row, uint64_t rows, uint64_t column, uint64_t columns,
                    std::byte* out) const;
  /// Whole rows.
  absl::Status Read(uint64_t row, uint64_t rows, std::byte* out) const {
    return Read(row, rows, 0, columns_, out);
  }
  /// The same where it lies, line i `step` bytes behind line i - 1: mapped where its lines do not
  /// follow each other (see CatchLostPages for files that shrink), else read into `buffer`.
  struct Lines {
    const std::byte* data;
    uint64_t step;
  };
  absl::StatusOr<Lines> View(uint64_t row, uint64_t rows, uint64_t column, uint64_t columns,
                             ByteBuffer& buffer) const;
  /// The same as f32; every type of numbers that scales are stored in.
  absl::Status ReadFloats(uint64_t row, uint64_t rows, uint64_t column, uint64_t columns,
                          float* out) const;
  absl::Status ReadFloats(uint64_t row, uint64_t rows, float* out) const {
    return ReadFloats(row, rows, 0, columns_, out);
  }
  /// Numbers that weights are made with: kInvalidInput names the place of one that is not finite.
  absl::Status ReadScales(uint64_t row, uint64_t rows, uint64_t column, uint64_t columns,
                          float* out) const;
  absl::Status ReadScales(uint64_t row, uint64_t rows, float* out) const {
    return ReadScales(row, rows, 0, columns_, out);
  }

 private:
  absl::Status CheckInside(uint64_t row, uint64_t rows, uint64_t column, uint64_t columns) const;

  RawTensor tensor_;
  uint64_t rows_ = 0, columns_ = 0;
};

/// Whether ReadFloats knows the type.
bool HoldsNumbers(RawType type);

/// All elements of a small tensor as f32. kInvalidInput when there are more than `limit`, or one
/// that is not finite.
absl::StatusOr<std::vector<float>> ReadAllFloats(const RawTensor& tensor, uint64_t limit);

}  // namespace smelt
