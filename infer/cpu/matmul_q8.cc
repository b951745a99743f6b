#include "infer/cpu/matmul_q8.h"

#include <algorithm>
#include <cmath>

#include "infer/cpu/gemm_kernel.h"
#include "infer/cpu/kernels.h"
#include "infer/cpu/q8_kernel.h"
#include "lib/base/job_scope.h"
#include "lib/base/parallel.h"
#include "lib/base/per_thread.h"
#include "lib/base/status.h"

namespace smelt::cpu {
namespace {

constexpr uint32_t kQ8TileRows = 96;
constexpr size_t kQ8Padding = 64;  // bytes; keeps rows out of each other's cache sets

const PerThread<WeightTile> tile_scratch;
const PerThread<Array<float>> sum_scratch;

}  // namespace

void Input::Set(const float* values, uint32_t new_columns, uint32_t new_panels,
                uint32_t new_lanes) {
  x = values;
  columns = new_columns;
  panels = new_panels;
  lanes = new_lanes;
  quantized = false;
  squares.clear();
  gram = nullptr;
}

absl::Status Input::Quantize() {
  if (quantized) return absl::OkStatus();
  const size_t size = static_cast<size_t>(columns) * lanes;
  codes.Reserve(size * panels);
  scales.Reserve(size / 32 * panels);
  sums.Reserve(size / 16 * panels);
  if (lanes == 1) pair_sums.Reserve(size / 32 * panels);
  SMELT_RETURN_IF_ERROR(ParallelForWorkers(panels, 1, [&](uint64_t first, uint64_t last, int) {
    for (uint64_t p = first; p < last; ++p) {
      int8_t* c = codes.data() + p * size;
      float* s = scales.data() + p * (size / 32);
      float* t = sums.data() + p * (size / 16);
      if (lanes == 1) {
        QuantizeActivations8(x + p * size, columns, c, s, t, pair_sums.data() + p * (size / 32));
      } else {
        QuantizePanel(x + p * size, columns, c, s, t);
      }
    }
  }));
  quantized = true;
  return absl::OkStatus();
}

void RowsQ8(const CpuWeight& weight, uint64_t first, uint64_t rows, const Input& in, float* sums) {
  for (uint32_t t = 0; t < in.panels; ++t) {
    const Activations8 x{in.codes.data() + static_cast<size_t>(t) * in.columns,
                         in.scales.data() + static_cast<size_t>(t) * (in.columns / 32),
                         in.sums.data() + static_cast<size_t>(t) * (in.columns / 16),
                         in.pair_sums.data() + static_cast<size_t>(t) * (in.columns / 32)};
    weight.DotQ8(first, rows, x, sums + t * rows);
    for (uint64_t r = 0; r < rows && weight.has_factors(); ++r)
      sums[t * rows + r] *= weight.factor(first + r);
  }
}

absl::Status WeightTile::Load(const Matrix& matrix, uint64_t first, uint64_t rows, bool q8) {
  const CpuWeight& w = AsCpu(matrix.weight);
  rows_ = rows;
  columns_ = matrix.columns;
  group_ = q8 ? w.codec().unpack_group() : 0;
  if (!q8) {
    const size_t stride = columns_ + kQ8Padding / sizeof(float);
    return w.Decode(matrix.first_row + first, rows, 0, columns_, values_.Reserve(stride * rows),
                    stride);
  }
  has_minimum_ = w.codec().unpack_has_minimum();
  range_ = w.codec().unpack_range();
  const size_t groups = columns_ / group_;
  const size_t stride = columns_ + kQ8Padding;
  codes_.Reserve(stride * rows);
  scales_.Reserve(groups * rows);
  minimums_.Reserve(groups * rows);
  for (uint64_t r = 0; r < rows; ++r) {
    w.codec().Unpack8(w.row(matrix.first_row + first + r), columns_,
                      Unpacked8{codes_.data() + r * stride, scales_.data() + r * groups,
                                minimums_.data() + r * groups});
    const float times = w.factor(matrix.first_row + first + r);
    for (size_t g = 0; times != 1 && g < groups; ++g) {
      scales_.data()[r * groups + g] *= times;
      if (has_minimum_) minimums_.data()[r * groups + g] *= times;
    }
  }
  return absl::OkStatus();
}

void WeightTile::Multiply(const Input& in, uint32_t panel, float* out) const {
  const size_t size = static_cast<size_t>(columns_) * kPanel;
  if (group_ == 0) {
    GemmPanel(values_.data(), columns_ + kQ8Padding / sizeof(float), 1, rows_, in.x + panel * size,
              columns_, out, false);
    return;
  }
  const Q8Tile tile{codes_.data(),  columns_ + kQ8Padding,
                    scales_.data(), has_minimum_ ? minimums_.data() : nullptr,
                    group_,         rows_,
                    columns_,       range_.low,
                    range_.high};
  MultiplyQ8(tile, in.codes.data() + panel * size, in.scales.data() + panel * (size / 32),
             in.sums.data() + panel * (size / 16), out);
}

absl::Status PanelsQ8(const Matrix& matrix, Store store, Activation activation, const Input& in,
                      float* out) {
  const uint32_t tile_rows = TileRows(matrix.rows, kQ8TileRows);
  return ParallelFor(matrix.rows, tile_rows, [&](uint64_t first, uint64_t last) {
    const uint64_t rows = last - first;
    SMELT_RETURN_IF_ERROR(tile_scratch->Load(matrix, first, rows, true));
    const float* bias =
        matrix.bias == nullptr ? nullptr : ValuesOf(matrix.bias) + matrix.first_row + first;
    float* sums = sum_scratch->Reserve(rows * kPanel);
    for (uint32_t panel = 0; panel < in.panels; ++panel) {
      if (MustStop()) return GoOn();
      tile_scratch->Multiply(in, panel, sums);
      StoreRows(sums, bias, rows, kPanel, store, activation,
                out + (static_cast<size_t>(panel) * matrix.rows + first) * kPanel);
    }
    return absl::OkStatus();
  });
}

}  // namespace smelt::cpu
