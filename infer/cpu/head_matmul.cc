#include "infer/cpu/head_matmul.h"

#include <algorithm>

#include "infer/cpu/gemm_kernel.h"
#include "infer/cpu/kernels.h"
#include "infer/cpu/memory.h"
#include "infer/cpu/weights.h"
#include "lib/base/parallel.h"
#include "lib/base/per_thread.h"
#include "lib/base/status.h"

namespace smelt::cpu {
namespace {

constexpr uint64_t kHeadTileRows = 96;  // a tile of decoded weights stays in the second-level cache
constexpr size_t kHeadPadding = 16;

const PerThread<Array<float>> head_scratch;

/// Rows [first, first + rows) of a head's matrix against all tokens.
absl::Status MultiplyTile(const HeadMatMulOp& op, const Layout& layout, uint64_t head,
                          uint64_t first, uint64_t rows, const float* in, float* out) {
  const Matrix& m = op.matrix;
  const CpuWeight& w = AsCpu(m.weight);
  const uint64_t row = head * m.expert_rows + m.first_row + first;
  const size_t lanes = layout.lanes, stride = m.columns + kHeadPadding;
  const size_t in_panel = static_cast<size_t>(op.heads) * op.in_stride * lanes;
  const size_t out_panel = static_cast<size_t>(op.heads) * op.out_stride * lanes;
  in += head * op.in_stride * lanes;
  out += (head * op.out_stride + op.out_first + first) * lanes;
  const bool in_place = lanes == 1 && layout.panels == 1 && w.mapped();
  float* tile = nullptr;
  if (!in_place) {
    tile = head_scratch->Reserve(stride * rows);
    SMELT_RETURN_IF_ERROR(w.Decode(row, rows, 0, m.columns, tile, stride));
  }
  for (uint32_t p = 0; p < layout.panels; ++p) {
    const float* x = in + p * in_panel;
    float* y = out + p * out_panel;
    if (lanes != 1) {
      GemmPanel(tile, stride, 1, rows, x, m.columns, y, false);
      continue;
    }
    for (uint64_t r = 0; r < rows; ++r) {
      y[r] = in_place ? w.Dot(row + r, x, m.columns) : DotF32(tile + r * stride, x, m.columns);
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status HeadMatMul(const HeadMatMulOp& op, const Layout& layout, const float* in, float* out) {
  const uint64_t rows = op.matrix.rows, tiles = (rows + kHeadTileRows - 1) / kHeadTileRows;
  const uint64_t grain =
      layout.lanes == 1 ? std::max<uint64_t>(1, (1u << 16) / (kHeadTileRows * op.matrix.columns))
                        : 1;
  return ParallelFor(op.heads * tiles, grain, [&](uint64_t begin, uint64_t end) {
    for (uint64_t task = begin; task < end; ++task) {
      const uint64_t first = task % tiles * kHeadTileRows;
      SMELT_RETURN_IF_ERROR(MultiplyTile(op, layout, task / tiles, first,
                                         std::min(kHeadTileRows, rows - first), in, out));
    }
    return absl::OkStatus();
  });
}

}  // namespace smelt::cpu
