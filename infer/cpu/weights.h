// Weights as the CPU backend holds them: small ones as f32, matrices where they lie.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "infer/backend.h"
#include "infer/cpu/memory.h"
#include "infer/host_rows.h"
#include "lib/base/page_arena.h"
#include "lib/model/model_source.h"
#include "quant/interleaved.h"

namespace smelt::cpu {

class CpuWeight : public Weight, public HostRows {
 public:
  /// kValues: `values` are read. Otherwise the rows are mapped; what cannot be is read when it is
  /// wanted (kStream) or kept as f32 (kResident, kInterleaved). `arena`: for interleaved rows.
  static absl::StatusOr<std::shared_ptr<const CpuWeight>> Load(const ModelSource& source,
                                                               TensorRef tensor, WeightUse use,
                                                               PageArena* arena = nullptr);
  using HostRows::HostRows;

  /// All values as f32; only for weights loaded with WeightUse::kValues.
  const float* values() const { return values_.data(); }
  /// The product of a mapped row with `x`.
  float Dot(uint64_t i, const float* x, uint64_t columns) const {
    return codec().Dot(row(i), x, columns) * factor(i);
  }

  /// True when whole groups of rows are kept interleaved as well.
  bool interleaved() const { return kernels_ != nullptr; }
  bool interleaved_f32() const { return interleaved() && kernels_->dot_f32 != nullptr; }
  /// out[r] = dot product of row first + r with 8-bit activations; of mapped rows.
  void DotQ8(uint64_t first, uint64_t rows, const Activations8& x, float* out) const;
  /// The same with activations as they are; of mapped rows.
  void DotF32(uint64_t first, uint64_t rows, const float* x, float* out) const;
  /// Rows that DotQ8 is fastest with begin at a multiple of this, and are as many or a multiple.
  static constexpr uint64_t kGroupRows = 16;

 private:
  /// Keeps whole groups of rows interleaved as well, if this machine has kernels for them.
  absl::Status Interleave(PageArena& arena);
  /// Whole groups by `interleaved(first group, groups, out)` if there is such a `kernel`, what lies
  /// before and behind them by `mapped(first, rows, out)`.
  template <typename Mapped, typename Interleaved>
  void EachPart(bool kernel, uint64_t first, uint64_t rows, float* out, const Mapped& mapped,
                const Interleaved& interleaved) const;

  Array<float> values_;
  const InterleavedKernels* kernels_ = nullptr;  ///< of interleaved_, if there is any
  uint64_t group_bytes_ = 0;
  std::shared_ptr<uint8_t[]> interleaved_;
};

inline const CpuWeight& AsCpu(const WeightPtr& w) { return static_cast<const CpuWeight&>(*w); }
/// Values of an optional vector, or nullptr.
inline const float* ValuesOf(const WeightPtr& w) {
  return w == nullptr ? nullptr : AsCpu(w).values();
}

}  // namespace smelt::cpu
