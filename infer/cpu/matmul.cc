#include "infer/cpu/matmul.h"

#include <algorithm>

#include "infer/cpu/gemm_kernel.h"
#include "infer/cpu/kernels.h"
#include "infer/cpu/matmul_q8.h"
#include "lib/base/job_scope.h"
#include "lib/base/parallel.h"
#include "lib/base/per_thread.h"
#include "lib/base/status.h"

namespace smelt::cpu {
namespace {

// A tile of decoded weights stays in the second-level cache.
constexpr uint32_t kTileRows = 96;
constexpr uint32_t kWholeColumns = 3072;  // rows up to this long are decoded whole
constexpr uint32_t kTileColumns =
    2048;  // longer ones in pieces of this (a multiple of every block)
constexpr uint64_t kUnmappedTileFloats = 1u << 19;
// Keeps rows of a tile out of each other's cache sets.
constexpr size_t kRowPadding = 16;

struct MatMulScratch {
  Array<float> tile, sums;
};
const PerThread<MatMulScratch> matmul_scratch;

struct Tiling {
  uint32_t rows = 0, columns = 0;
};

Tiling ChooseTiling(const CpuWeight& w, const Matrix& m) {
  if (!w.mapped()) {
    const uint64_t fit = std::max<uint64_t>(12, kUnmappedTileFloats / m.columns / 12 * 12);
    return {TileRows(m.rows, static_cast<uint32_t>(std::min<uint64_t>(kTileRows, fit))), m.columns};
  }
  return {TileRows(m.rows, kTileRows), m.columns <= kWholeColumns ? m.columns : kTileColumns};
}

// One tile of rows [first, first + rows) against all panels.
absl::Status PanelTile(const Matrix& m, Store store, Activation activation, const Input& in,
                       const Tiling& tiling, uint64_t first, uint64_t rows, float* out) {
  const CpuWeight& w = AsCpu(m.weight);
  const float* bias = m.bias == nullptr ? nullptr : ValuesOf(m.bias) + m.first_row + first;
  const size_t stride = tiling.columns + kRowPadding;
  float* tile = matmul_scratch->tile.Reserve(stride * rows);
  // Sums can grow in the output itself unless a function of the whole sum goes there.
  const bool in_place = bias == nullptr && (store == Store::kSet || store == Store::kAdd);
  const bool one_block = tiling.columns >= m.columns;
  float* sums = in_place
                    ? nullptr
                    : matmul_scratch->sums.Reserve((one_block ? 1 : in.panels) * rows * kPanel);
  for (uint64_t column = 0; column < m.columns; column += tiling.columns) {
    const uint64_t columns = std::min<uint64_t>(tiling.columns, m.columns - column);
    SMELT_RETURN_IF_ERROR(w.Decode(m.first_row + first, rows, column, columns, tile, stride));
    for (uint32_t panel = 0; panel < in.panels; ++panel) {
      if (MustStop()) return GoOn();
      const float* x = in.x + (static_cast<size_t>(panel) * m.columns + column) * kPanel;
      float* to = out + (static_cast<size_t>(panel) * m.rows + first) * kPanel;
      if (in_place) {
        GemmPanel(tile, stride, 1, rows, x, columns, to, column > 0 || store == Store::kAdd);
        continue;
      }
      float* sum = sums + (one_block ? 0 : panel * rows * kPanel);
      GemmPanel(tile, stride, 1, rows, x, columns, sum, column > 0);
      if (column + columns == m.columns) StoreRows(sum, bias, rows, kPanel, store, activation, to);
    }
  }
  return absl::OkStatus();
}

// Rows [first, last) for few tokens: weights are read once, straight from where they lie.
absl::Status RowsTile(const Matrix& m, Store store, Activation activation, bool q8, const Input& in,
                      uint64_t first, uint64_t last, float* out) {
  const CpuWeight& w = AsCpu(m.weight);
  const uint64_t rows = last - first;
  const float* bias = m.bias == nullptr ? nullptr : ValuesOf(m.bias) + m.first_row + first;
  float* sums = matmul_scratch->sums.Reserve(rows * in.panels);
  if (q8) {
    RowsQ8(w, m.first_row + first, rows, in, sums);
  } else if (w.interleaved_f32() || (w.mapped() && in.panels == 1)) {
    for (uint32_t t = 0; t < in.panels; ++t) {
      w.DotF32(m.first_row + first, rows, in.x + static_cast<size_t>(t) * m.columns,
               sums + t * rows);
    }
  } else {
    for (uint64_t r = 0; r < rows; ++r) {
      // Several tokens share the decoding of a row.
      float* row = matmul_scratch->tile.Reserve(m.columns);
      SMELT_RETURN_IF_ERROR(w.Decode(m.first_row + first + r, 1, 0, m.columns, row, m.columns));
      for (uint32_t t = 0; t < in.panels; ++t) {
        const float* x = in.x + static_cast<size_t>(t) * m.columns;
        sums[t * rows + r] = DotF32(row, x, m.columns);
      }
    }
  }
  for (uint32_t t = 0; t < in.panels; ++t) {
    StoreRows(sums + t * rows, bias, rows, 1, store, activation,
              out + static_cast<size_t>(t) * m.rows + first);
  }
  return absl::OkStatus();
}

/// Products of one output, which do the same rows one after the other.
using SharedOutput = std::span<const Product>;

SharedOutput FirstOutput(std::span<const Product> products) {
  const auto other = std::ranges::find_if(
      products, [&](const Product& p) { return p.out != products.front().out; });
  return products.first(static_cast<size_t>(other - products.begin()));
}

// Rows of a piece. Memory is read ahead in long pieces, threads end together after short ones, and
// several tokens find those in caches. A row's sum may depend on whether its group is whole, so
// where groups begin elsewhere than pieces do these are of one size for any number of threads.
uint64_t RowsOfPiece(SharedOutput products, int threads) {
  constexpr uint64_t kFewElements = 1u << 16, kManyElements = 1u << 20, kPiecesOfThread = 2;
  const Matrix& matrix = *products.front().matrix;
  const bool whole_groups = std::ranges::all_of(
      products, [](const Product& p) { return p.matrix->first_row % CpuWeight::kGroupRows == 0; });
  const uint64_t few = std::max<uint64_t>(1, kFewElements / matrix.columns);
  const uint64_t many = std::max<uint64_t>(1, kManyElements / matrix.columns);
  const uint64_t share = matrix.rows / (kPiecesOfThread * static_cast<uint64_t>(threads));
  const bool one_token = products.front().in->panels == 1;
  const uint64_t rows = whole_groups && one_token ? std::clamp(share, few, many) : few;
  return (rows + CpuWeight::kGroupRows - 1) / CpuWeight::kGroupRows * CpuWeight::kGroupRows;
}

absl::Status FewTokens(std::span<const Product> products, Precision precision) {
  const int threads = Threads();  // once: others may set it meanwhile
  const auto pieces_of = [threads](SharedOutput output) {
    const uint64_t rows = RowsOfPiece(output, threads);
    return (output.front().matrix->rows + rows - 1) / rows;
  };
  uint64_t pieces = 0;
  for (auto rest = products; !rest.empty(); rest = rest.subspan(FirstOutput(rest).size()))
    pieces += pieces_of(FirstOutput(rest));
  return ParallelFor(pieces, 1, [&](uint64_t piece, uint64_t) {
    std::span<const Product> rest = products;
    SharedOutput output = FirstOutput(rest);
    for (uint64_t n = pieces_of(output); piece >= n; n = pieces_of(output)) {
      piece -= n;
      rest = rest.subspan(output.size());
      output = FirstOutput(rest);
    }
    const uint64_t rows = RowsOfPiece(output, threads), first = piece * rows;
    const uint64_t last = std::min<uint64_t>(first + rows, output.front().matrix->rows);
    for (const Product& p : output) {
      SMELT_RETURN_IF_ERROR(RowsTile(*p.matrix, p.store, p.activation,
                                     UsesQ8(AsCpu(p.matrix->weight), precision), *p.in, first, last,
                                     p.out));
    }
    return absl::OkStatus();
  });
}

}  // namespace

bool UsesQ8(const CpuWeight& weight, Precision precision) {
  return precision == Precision::kQ8 && weight.mapped() && weight.codec().unpack_group() != 0;
}

uint32_t TileRows(uint64_t rows, uint32_t limit) {
  const uint64_t share = rows / (3 * static_cast<uint64_t>(Threads()));
  const uint64_t rounded = (share + 11) / 12 * 12;
  return static_cast<uint32_t>(std::clamp<uint64_t>(rounded, std::min<uint32_t>(24, limit), limit));
}

absl::Status MatMul(std::span<const Product> products, Precision precision) {
  for (const Product& p : products) {
    if (UsesQ8(AsCpu(p.matrix->weight), precision)) SMELT_RETURN_IF_ERROR(p.in->Quantize());
  }
  if (products.front().in->lanes == 1) return FewTokens(products, precision);
  for (const Product& p : products) {
    const CpuWeight& w = AsCpu(p.matrix->weight);
    if (UsesQ8(w, precision)) {
      SMELT_RETURN_IF_ERROR(PanelsQ8(*p.matrix, p.store, p.activation, *p.in, p.out));
      continue;
    }
    const Tiling tiling = ChooseTiling(w, *p.matrix);
    SMELT_RETURN_IF_ERROR(
        ParallelFor(p.matrix->rows, tiling.rows, [&](uint64_t first, uint64_t last) {
          return PanelTile(*p.matrix, p.store, p.activation, *p.in, tiling, first, last - first,
                           p.out);
        }));
  }
  return absl::OkStatus();
}

}  // namespace smelt::cpu
