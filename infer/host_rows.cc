#include "infer/host_rows.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "lib/base/status.h"

namespace smelt {

HostRows::HostRows(const ModelSource& source, TensorRef tensor)
    : source_(&source), tensor_(static_cast<size_t>(tensor)) {
  rows_ = info().shape.rows();
  columns_ = info().shape.columns();
  tile_rows_ = std::max<uint64_t>(1, info().tile_rows);
  codec_ = FindCodec(info().type);
}

absl::Status HostRows::Map() {
  absl::StatusOr<MappedRows> mapped = source_->MapRows(tensor_);
  if (CodeOf(mapped.status()) == ErrorCode::kUnsupported) return absl::OkStatus();
  SMELT_RETURN_IF_ERROR(mapped.status());
  if (codec_ == nullptr) {
    return Error(ErrorCode::kUnsupported, "tensor '", Escape(name()), "' has type ",
                 Info(info().type).name, ", which the engine cannot read");
  }
  mapped_ = true;
  in_memory_ = *std::move(mapped);
  contiguous_ = in_memory_.pointers.empty() && in_memory_.stride == RowBytes(info().type, columns_);
  return absl::OkStatus();
}

void HostRows::LieAt(const float* values) {
  mapped_ = contiguous_ = true;
  codec_ = FindCodec(TensorType::kF32);
  in_memory_ = {};
  in_memory_.base = reinterpret_cast<const std::byte*>(values);
  in_memory_.stride = columns_ * sizeof(float);
}

absl::Status HostRows::Decode(uint64_t first_row, uint64_t rows, uint64_t first_column,
                              uint64_t columns, float* out, size_t stride) const {
  if (mapped_) {
    // A column that begins a block begins at a whole number of blocks' bytes.
    const uint64_t skip = RowBytes(codec_->type(), first_column).value_or(0);
    for (uint64_t r = 0; r < rows; ++r) {
      float* const values = out + r * stride;
      codec_->Decode(row(first_row + r) + skip, columns, values);
      const float times = factor(first_row + r);
      for (uint64_t c = 0; times != 1 && c < columns; ++c) values[c] *= times;
    }
    return absl::OkStatus();
  }
  // ReadRows writes without gaps: the rows are read to the end of the tile and moved apart, first
  // one first.
  float* packed = out + rows * (stride - columns_);
  SMELT_RETURN_IF_ERROR(source_->ReadRows(tensor_, first_row, rows, packed));
  for (uint64_t r = 0; r < rows; ++r)
    std::memmove(out + r * stride, packed + r * columns_, columns_ * sizeof(float));
  return absl::OkStatus();
}

}  // namespace smelt
