#include "infer/cpu/watch.h"

#include <algorithm>
#include <numeric>

#include "infer/cpu/gram.h"
#include "lib/base/parallel.h"
#include "lib/base/status.h"

namespace smelt::cpu {
namespace {

constexpr uint64_t kWatchedColumns = 32;  // that one thread sums up together

void AddSquares(const float* x, uint32_t lanes, double* sums) {
  for (uint32_t lane = 0; lane < lanes; ++lane) {
    const double value = x[lane];
    sums[lane] += value * value;
  }
}

void Add(std::span<const double> squares, uint64_t index, uint64_t tokens, InputSquares& to) {
  double* sums = to.sums.data() + index * to.columns;
  for (uint64_t c = 0; c < to.columns; ++c) sums[c] += squares[c];
  to.counts[index] += tokens;
}

uint64_t Total(std::span<const uint32_t> tokens) {
  return std::accumulate(tokens.begin(), tokens.end(), uint64_t{0});
}

absl::Status WatchSquares(Tap& tap, const Matrix& matrix, uint64_t index,
                          std::span<const uint32_t> tokens, Input& in) {
  InputSquares* to = tap.Squares(matrix.tensor, matrix.columns, matrix.count);
  if (to == nullptr) return absl::OkStatus();
  if (in.squares.empty())
    SMELT_RETURN_IF_ERROR(SumSquares(in.x, in.columns, in.lanes, tokens, in.squares));
  Add(in.squares, index, Total(tokens), *to);
  return absl::OkStatus();
}

absl::Status WatchGram(Tap& tap, const Matrix& matrix, uint64_t index,
                       std::span<const uint32_t> tokens, Input& in) {
  SMELT_ASSIGN_OR_RETURN(InputGram* const to,
                         tap.Gram(matrix.tensor, index, matrix.columns, in.gram));
  if (to == nullptr || to == in.gram) return absl::OkStatus();
  in.gram = to;
  return AddGram(in.x, in.lanes, tokens, *to);
}

}  // namespace

std::vector<uint32_t> TokensOfPanels(const Layout& layout) {
  std::vector<uint32_t> tokens;
  for (const Layout::Segment& s : layout.segments) {
    for (uint32_t p = 0; p < s.panels; ++p) tokens.push_back(layout.TokensOf(s, p));
  }
  return tokens;
}

std::vector<uint32_t> TokensOfPanels(uint32_t tokens, uint32_t lanes) {
  std::vector<uint32_t> out;
  for (; tokens > 0; tokens -= out.back()) out.push_back(std::min(tokens, lanes));
  return out;
}

absl::Status SumSquares(const float* x, uint64_t columns, uint32_t lanes,
                        std::span<const uint32_t> tokens, std::vector<double>& squares) {
  squares.resize(columns);
  return ParallelForWorkers(columns, kWatchedColumns, [&](uint64_t first, uint64_t last, int) {
    double sums[kWatchedColumns][kPanel] = {};
    for (size_t p = 0; p < tokens.size(); ++p) {
      for (uint64_t c = first; c < last; ++c) {
        const float* at = x + (p * columns + c) * lanes;
        if (tokens[p] == kPanel) {
          AddSquares(at, kPanel, sums[c - first]);
        } else {
          AddSquares(at, tokens[p], sums[c - first]);
        }
      }
    }
    for (uint64_t c = first; c < last; ++c)
      squares[c] = std::accumulate(sums[c - first], sums[c - first] + kPanel, 0.0);
  });
}

absl::Status Watch(Tap& tap, const Matrix& matrix, uint64_t index, std::span<const uint32_t> tokens,
                   Input& in) {
  if (matrix.first_row != 0) return absl::OkStatus();
  SMELT_RETURN_IF_ERROR(WatchSquares(tap, matrix, index, tokens, in));
  return WatchGram(tap, matrix, index, tokens, in);
}

absl::Status WatchHeads(Tap& tap, const Matrix& matrix, uint32_t heads, uint32_t stride,
                        const Layout& layout, const float* x) {
  InputSquares* to = tap.Squares(matrix.tensor, uint64_t{heads} * matrix.columns, 1);
  if (to == nullptr) return absl::OkStatus();
  const std::vector<uint32_t> tokens = TokensOfPanels(layout);
  std::vector<double> squares;
  SMELT_RETURN_IF_ERROR(SumSquares(x, uint64_t{heads} * stride, layout.lanes, tokens, squares));
  for (uint64_t h = 0; h < heads; ++h) {
    for (uint64_t c = 0; c < matrix.columns; ++c)
      to->sums[h * matrix.columns + c] += squares[h * stride + c];
  }
  to->counts[0] += Total(tokens);
  return absl::OkStatus();
}

}  // namespace smelt::cpu
