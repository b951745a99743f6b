#include "infer/cpu/gram.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <vector>

#include "infer/cpu/gemm_kernel.h"
#include "infer/cpu/layout.h"
#include "infer/cpu/memory.h"
#include "lib/base/parallel.h"

namespace smelt::cpu {
namespace {

// A tile of sums is so many rows and columns: with it, so many inputs as columns, of which a block
// of rows is multiplied with all, stay in a core's cache.
constexpr uint64_t kRows = 384;
constexpr uint64_t kStrips = 2;  ///< of kPanel columns each
constexpr uint64_t kColumns = kStrips * kPanel;
constexpr uint64_t kRowsAtOnce = 96;
constexpr uint64_t kStepsAtOnce = 8;
static_assert(kRows % kColumns == 0 && kRows % kRowsAtOnce == 0);

struct Tile {
  uint64_t row = 0, column = 0;  ///< first
};

// Tiles with anything on or below the diagonal, the largest first.
std::vector<Tile> TilesOf(uint64_t columns) {
  std::vector<Tile> tiles;
  for (uint64_t column = 0; column < columns; column += kColumns) {
    for (uint64_t row = column / kRows * kRows; row < columns; row += kRows)
      tiles.push_back({std::max(row, column), column});
  }
  return tiles;
}

/// Tokens that are multiplied together: a panel, or as many panels of one token.
struct Step {
  const float* x = nullptr;  ///< column 0 of the first token
  uint32_t tokens = 0;
};

std::vector<Step> StepsOf(const float* x, uint64_t columns, uint32_t lanes,
                          std::span<const uint32_t> tokens) {
  std::vector<Step> steps;
  const size_t together = lanes == 1 ? kPanel : 1;
  for (size_t p = 0; p < tokens.size(); p += together) {
    const auto last =
        tokens.begin() + static_cast<std::ptrdiff_t>(std::min(p + together, tokens.size()));
    steps.push_back({x + p * columns * lanes,
                     std::accumulate(tokens.begin() + static_cast<std::ptrdiff_t>(p), last, 0u)});
  }
  return steps;
}

/// One thread's working memory.
struct GramScratch {
  Array<float> across;  ///< [step][strip][token][kPanel]: columns as the lanes of a product
  Array<float> sums;    ///< [strip][row][kPanel]
};

class Gram {
 public:
  Gram(const float* x, uint32_t lanes, std::span<const uint32_t> tokens, InputGram& to)
      : to_(to),
        columns_(to.columns),
        token_stride_(lanes == 1 ? columns_ : 1),
        column_stride_(lanes),
        steps_(StepsOf(x, columns_, lanes, tokens)) {}

  absl::Status Run() {
    const std::vector<Tile> tiles = TilesOf(columns_);
    std::vector<GramScratch> scratch(static_cast<size_t>(Threads()));
    return ParallelForWorkers(tiles.size(), 1, [&](uint64_t first, uint64_t last, int worker) {
      for (uint64_t i = first; i < last; ++i)
        DoTile(tiles[i], scratch[static_cast<size_t>(worker)]);
    });
  }

 private:
  void DoTile(const Tile& tile, GramScratch& scratch) const {
    const uint64_t rows = std::min(tile.row / kRows * kRows + kRows, columns_) - tile.row;
    float* const across = scratch.across.Reserve(kStepsAtOnce * kColumns * kPanel);
    float* const sums = scratch.sums.Reserve(kRows * kColumns);
    for (size_t s = 0; s < steps_.size(); s += kStepsAtOnce) {
      const std::span<const Step> steps =
          std::span(steps_).subspan(s, std::min(kStepsAtOnce, steps_.size() - s));
      LayAcross(steps, tile.column, across);
      for (uint64_t row = 0; row < rows; row += kRowsAtOnce) {
        const uint64_t count = std::min(kRowsAtOnce, rows - row);
        for (size_t i = 0; i < steps.size() * kStrips; ++i) {
          const Step& step = steps[i / kStrips];
          GemmPanel(step.x + (tile.row + row) * column_stride_, column_stride_, token_stride_,
                    count, across + i * kPanel * kPanel, step.tokens,
                    sums + (i % kStrips * kRows + row) * kPanel, s + i / kStrips > 0);
        }
      }
    }
    AddTile(tile, rows, sums);
  }

  // across[step][strip][token][i] = column number `first` + strip * kPanel + i of the token.
  void LayAcross(std::span<const Step> steps, uint64_t first, float* across) const {
    for (const Step& step : steps) {
      for (uint64_t strip = 0; strip < kStrips; ++strip, across += kPanel * kPanel) {
        const uint64_t column = std::min(first + strip * kPanel, columns_);
        const uint64_t count = std::min<uint64_t>(kPanel, columns_ - column);
        if (count < kPanel) std::fill_n(across, kPanel * kPanel, 0.0f);
        for (uint64_t i = 0; i < count; ++i) {
          const float* from = step.x + (column + i) * column_stride_;
          for (uint32_t t = 0; t < step.tokens; ++t)
            across[t * kPanel + i] = from[t * token_stride_];
        }
      }
    }
  }

  void AddTile(const Tile& tile, uint64_t rows, const float* sums) const {
    for (uint64_t row = tile.row; row < tile.row + rows; ++row) {
      const uint64_t count = std::min(row + 1 - tile.column, kColumns);
      for (uint64_t c = 0; c < count; ++c) {
        to_.sums[row * columns_ + tile.column + c] +=
            sums[(c / kPanel * kRows + row - tile.row) * kPanel + c % kPanel];
      }
    }
  }

  InputGram& to_;
  const uint64_t columns_;
  const size_t token_stride_, column_stride_;
  const std::vector<Step> steps_;
};

}  // namespace

absl::Status AddGram(const float* x, uint32_t lanes, std::span<const uint32_t> tokens,
                     InputGram& to) {
  to.tokens += std::accumulate(tokens.begin(), tokens.end(), uint64_t{0});
  return tokens.empty() ? absl::OkStatus() : Gram(x, lanes, tokens, to).Run();
}

}  // namespace smelt::cpu
