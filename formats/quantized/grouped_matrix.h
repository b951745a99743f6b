// Integer codes with a scale, and a zero point or an offset, for every group of a row.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "formats/computed_matrix.h"
#include "formats/quantized/code_matrix.h"
#include "formats/quantized/stored_matrix.h"

namespace smelt {

/// Floats of (row, group), stored that way or transposed.
struct GroupValues {
  StoredMatrix stored;
  bool transposed = false;

  /// Of rows [first, +count), row after row.
  absl::Status Read(uint64_t first, uint64_t count, float* out) const;
  /// Of transposed ones the same, group after group.
  absl::Status ReadLines(uint64_t first, uint64_t count, float* out) const {
    return stored.ReadScales(0, stored.rows(), first, count, out);
  }
};

/// value = (code - zero) * scale, or code * scale + offset.
struct GroupedParts {
  CodeMatrix codes;
  uint64_t group_size = 0;  ///< columns of a group, unless `group_of` says which have which
  uint64_t groups = 0;
  GroupValues scales;
  /// Of every (row, group): codes, or numbers. Neither: `zero`.
  std::variant<std::monostate, CodeMatrix, GroupValues> zeros;
  float zero = 0;                        ///< or what is added to each of them
  bool offsets = false;                  ///< `zeros` are added behind the scale instead
  std::optional<StoredMatrix> group_of;  ///< the group of every column
  uint64_t tile_rows = 1;
};

std::shared_ptr<const ComputedMatrix> MakeGroupedMatrix(std::string format, uint32_t bits,
                                                        GroupedParts parts);

}  // namespace smelt
