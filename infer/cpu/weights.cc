#include "infer/cpu/weights.h"

#include <new>

#include "lib/base/parallel.h"
#include "lib/base/status.h"

namespace smelt::cpu {

absl::StatusOr<std::shared_ptr<const CpuWeight>> CpuWeight::Load(const ModelSource& source,
                                                                 TensorRef tensor, WeightUse use,
                                                                 PageArena* arena) {
  auto weight = std::make_shared<CpuWeight>(source, tensor);
  if (use != WeightUse::kValues) {
    SMELT_RETURN_IF_ERROR(weight->Map());
    if (weight->mapped() && use == WeightUse::kInterleaved && arena != nullptr)
      SMELT_RETURN_IF_ERROR(weight->Interleave(*arena));
    if (weight->mapped() || use == WeightUse::kStream) return weight;
  }
  const uint64_t elements = weight->info().shape.elements();
  try {
    weight->values_ = Array<float>(elements);
  } catch (const std::bad_alloc&) {
    return Error(ErrorCode::kOutOfMemory, "no memory for tensor '", Escape(weight->name()), "' (",
                 elements * sizeof(float), " bytes)");
  }
  SMELT_RETURN_IF_ERROR(weight->ReadAll(weight->values_.data()));
  if (use != WeightUse::kValues) weight->LieAt(weight->values_.data());
  return weight;
}

absl::Status CpuWeight::Interleave(PageArena& arena) {
  const InterleavedKernels* const kernels = FindInterleaved(type());
  if (kernels == nullptr || !contiguous() || columns() % 2 != 0 || rows() < kernels->rows ||
      has_factors())
    return absl::OkStatus();
  group_bytes_ = kernels->group_bytes(columns());
  const uint64_t groups = rows() / kernels->rows;
  try {
    interleaved_ = arena.Allocate(groups * group_bytes_);
  } catch (const std::bad_alloc&) {
    return Error(ErrorCode::kOutOfMemory, "no memory for tensor '", Escape(name()),
                 "' in another order (", groups * group_bytes_,
                 " bytes); --no-repack leaves weights as they are");
  }
  kernels_ = kernels;
  return ParallelFor(groups, 8, [&](uint64_t first, uint64_t last) {
    for (uint64_t g = first; g < last; ++g) {
      kernels->interleave(reinterpret_cast<const uint8_t*>(row(g * kernels->rows)), columns(),
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
        if (contiguous()) return codec().DotQ8(row(at), count, columns(), x, sums);
        for (uint64_t r = 0; r < count; ++r) codec().DotQ8(row(at + r), 1, columns(), x, sums + r);
      },
      [&](const uint8_t* group, uint64_t groups, float* sums) {
        kernels_->dot(group, groups, columns(), x, sums);
      });
}

void CpuWeight::DotF32(uint64_t first, uint64_t rows, const float* x, float* out) const {
  EachPart(
      interleaved_f32(), first, rows, out,
      [&](uint64_t at, uint64_t count, float* sums) {
        for (uint64_t r = 0; r < count; ++r) sums[r] = Dot(at + r, x, columns());
      },
      [&](const uint8_t* group, uint64_t groups, float* sums) {
        kernels_->dot_f32(group, groups, columns(), x, sums);
      });
}

}  // namespace smelt::cpu
