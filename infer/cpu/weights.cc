#include "infer/cpu/weights.h"

#include <algorithm>
#include <new>
#include <utility>

#include "lib/base/parallel.h"
#include "lib/base/status.h"

namespace smelt::cpu {
absl::StatusOr<std::shared_ptr<const CpuWeight>> CpuWeight::Load(const ModelSource& source,
                                                                 TensorRef tensor, WeightUse use,
                                                                 PageArena* arena) {
  const TensorInfo& info = source.tensors()[static_cast<size_t>(tensor)];
  auto weight = std::make_shared<CpuWeight>();
  weight->source_ = &source;
  weight->tensor_ = static_cast<size_t>(tensor);
  weight->rows_ = info.shape.rows();
  weight->columns_ = info.shape.columns();
  weight->tile_rows_ = std::max<uint64_t>(1, info.tile_rows);
  weight->codec_ = FindCodec(info.type);

  if (use != WeightUse::kValues) {
    absl::StatusOr<MappedRows> mapped = source.MapRows(weight->tensor_);
    if (mapped.ok() && weight->codec_ == nullptr) {
      return Error(ErrorCode::kUnsupported, "tensor '", Escape(info.name), "' has type ",
                   Info(info.type).name, ", which the engine cannot read");
    }
    if (mapped.ok()) {
      weight->mapped_ = true;
      weight->rows_in_memory_ = *std::move(mapped);
      weight->contiguous_ = weight->rows_in_memory_.pointers.empty() &&
                            weight->rows_in_memory_.stride == RowBytes(info.type, weight->columns_);
      if (use == WeightUse::kInterleaved && arena != nullptr)
        SMELT_RETURN_IF_ERROR(weight->Interleave(*arena));
      return weight;
    }
    if (CodeOf(mapped.status()) != ErrorCode::kUnsupported) return mapped.status();
    if (use == WeightUse::kStream) return weight;
  }
  try {
    weight->values_ = Array<float>(info.shape.elements());
  } catch (const std::bad_alloc&) {
    return Error(ErrorCode::kOutOfMemory, "no memory for tensor '", Escape(info.name), "' (",
                 info.shape.elements() * sizeof(float), " bytes)");
  }
  SMELT_RETURN_IF_ERROR(source.ReadRows(weight->tensor_, 0, weight->rows_, weight->values_.data()));
  if (use != WeightUse::kValues) {
    weight->mapped_ = weight->contiguous_ = true;
    weight->codec_ = FindCodec(TensorType::kF32);
    weight->rows_in_memory_.base = reinterpret_cast<const std::byte*>(weight->values_.data());
    weight->rows_in_memory_.stride = weight->columns_ * sizeof(float);
  }
  return weight;
}

absl::Status CpuWeight::Interleave(PageArena& arena) {
  const InterleavedKernels* const kernels = FindInterleaved(codec_->type());
  if (kernels == nullptr || !contiguous_ || columns_ % 2 != 0 || rows_ < kernels->rows ||
      has_factors())
    return absl::OkStatus();
  group_bytes_ = kernels->group_bytes(columns_);
  const uint64_t groups = rows_ / kernels->rows;
  try {
    interleaved_ = arena.Allocate(groups * group_bytes_);
  } catch (const std::bad_alloc&) {
    const std::string& name = source_->tensors()[tensor_].name;
    return Error(ErrorCode::kOutOfMemory, "no memory for tensor '", Escape(name),
                 "' in another order (", groups * group_bytes_,
                 " bytes); --no-repack leaves weights as they are");
  }
  kernels_ = kernels;
  return ParallelFor(groups, 8, [&](uint64_t first, uint64_t last) {
    for (uint64_t g = first; g < last; ++g) {
      kernels->interleave(reinterpret_cast<const uint8_t*>(row(g * kernels->rows)), columns_,
                          interleaved_.get() + g * group_bytes_);
    }
    return absl::OkStatus();
  });
}

template <typename Mapped, typename Interleaved>
void CpuWeight::EachPart(bool kernel, uint64_t first, uint64_t rows, float* out,
                         const Mapped& mapped, const Interleaved& interleaved) const {
  if (!kernel) return mapped(first, rows, out);
  const uint64_t of_group = kernels_->rows;
  const uint64_t begin = (first + of_group - 1) / of_group, end = (first + rows) / of_group;
  if (begin >= end) return mapped(first, rows, out);
  const uint64_t before = begin * of_group - first, behind = first + rows - end * of_group;
  if (before > 0) mapped(first, before, out);
  interleaved(interleaved_.get() + begin * group_bytes_, end - begin, out + before);
  if (behind > 0) mapped(end * of_group, behind, out + rows - behind);
}

void CpuWeight::DotQ8(uint64_t first, uint64_t rows, const Activations8& x, float* out) const {
  EachPart(
      interleaved(), first, rows, out,
      [&](uint64_t at, uint64_t count, float* sums) {
        if (contiguous_) return codec_->DotQ8(row(at), count, columns_, x, sums);
        for (uint64_t r = 0; r < count; ++r) codec_->DotQ8(row(at + r), 1, columns_, x, sums + r);
      },
      [&](const uint8_t* group, uint64_t groups, float* sums) {
        kernels_->dot(group, groups, columns_, x, sums);
      });
}

void CpuWeight::DotF32(uint64_t first, uint64_t rows, const float* x, float* out) const {
  EachPart(
      interleaved_f32(), first, rows, out,
      [&](uint64_t at, uint64_t count, float* sums) {
        for (uint64_t r = 0; r < count; ++r) sums[r] = Dot(at + r, x, columns_);
      },
      [&](const uint8_t* group, uint64_t groups, float* sums) {
        kernels_->dot_f32(group, groups, columns_, x, sums);
      });
}

absl::Status CpuWeight::Decode(uint64_t first_row, uint64_t rows, uint64_t first_column,
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

}  // namespace smelt::cpu
