// The rows of a tensor as the host reads them: where they lie, or from the source whenever they are
// wanted. What every backend's weights begin with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "lib/model/layer_spec.h"
#include "lib/model/model_source.h"
#include "quant/codec.h"

namespace smelt {

class HostRows {
 public:
  /// Rows that are read as f32. `source` outlives them.
  HostRows(const ModelSource& source, TensorRef tensor);

  /// Has the rows read where they lie, in their own type, if the source can map them; else nothing
  /// changes.
  absl::Status Map();

  const std::string& name() const { return info().name; }
  uint64_t rows() const { return rows_; }
  uint64_t columns() const { return columns_; }
  uint64_t tile_rows() const { return tile_rows_; }  ///< that are cheapest to read at once
  const Codec& codec() const { return *codec_; }
  TensorType type() const { return codec_->type(); }

  /// True when rows can be read in place and in part, by row().
  bool mapped() const { return mapped_; }
  const std::byte* row(uint64_t i) const { return in_memory_.row(i); }
  /// What the decoded values of a mapped row are multiplied with; 1 where there are no factors.
  bool has_factors() const { return !in_memory_.factors.empty(); }
  float factor(uint64_t i) const { return in_memory_.factor(i); }
  /// True when rows follow each other without a gap, so that row(i) begins several of them.
  bool contiguous() const { return contiguous_; }

  /// Columns [first_column, first_column + columns) of some rows, as f32, `stride` floats from row
  /// to row. Rows that are not mapped can only be read whole.
  absl::Status Decode(uint64_t first_row, uint64_t rows, uint64_t first_column, uint64_t columns,
                      float* out, size_t stride) const;

 protected:
  const TensorInfo& info() const { return source_->tensors()[tensor_]; }
  absl::Status ReadAll(float* out) const { return source_->ReadRows(tensor_, 0, rows_, out); }
  /// The rows are these f32 values from now on.
  void LieAt(const float* values);

 private:
  const ModelSource* source_ = nullptr;
  size_t tensor_ = 0;
  uint64_t rows_ = 0, columns_ = 0, tile_rows_ = 1;
  const Codec* codec_ = nullptr;
  bool mapped_ = false, contiguous_ = false;
  MappedRows in_memory_;
};

}  // namespace smelt
