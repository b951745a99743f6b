// Matrix products over a batch.
#pragma once

#include <span>
#include <vector>

#include "absl/status/status.h"
#include "infer/cpu/layout.h"
#include "infer/cpu/memory.h"
#include "infer/cpu/weights.h"
#include "infer/graph.h"
#include "infer/score.h"
#include "infer/tap.h"

namespace smelt::cpu {

/// The inputs of a product: f32, and the same rounded to 8 bits when somebody asked for it.
class Input {
 public:
  /// `x`: [panel][columns][lane].
  void Set(const float* x, uint32_t columns, uint32_t panels, uint32_t lanes);
  /// Fills the 8-bit form unless it is there already.
  absl::Status Quantize();

  const float* x = nullptr;
  uint32_t columns = 0, panels = 0, lanes = 0;
  bool quantized = false;
  std::vector<double> squares;  ///< sum of squares of each column; empty: not known (see Watch)
  InputGram* gram = nullptr;    ///< where x x^T was added; nullptr: nowhere yet
  /// One lane: codes [panel][columns], scales [panel][columns / 32], sums [panel][columns / 16]. 32
  /// lanes: codes [panel][columns / 4][32][4], scales [panel][columns / 32][32], sums
  /// [panel][columns / 16][32].
  Array<int8_t> codes;
  Array<float> scales, sums, pair_sums;
};

/// Some rows of a matrix, whole and decoded: f32, or small integers with scales for inputs rounded
/// to 8 bits.
class WeightTile {
 public:
  absl::Status Load(const Matrix& matrix, uint64_t first, uint64_t rows, bool q8);
  /// out[rows][32] = the tile times one panel of the input (which is quantized if the tile was
  /// loaded so), without bias.
  void Multiply(const Input& in, uint32_t panel, float* out) const;

 private:
  uint64_t rows_ = 0, columns_ = 0;
  uint32_t group_ = 0;  // 0: f32
  bool has_minimum_ = false;
  CodeRange range_;
  Array<float> values_;
  Array<int8_t> codes_;
  Array<float> scales_, minimums_;
};

/// True when products with this weight round their inputs to 8 bits.
bool UsesQ8(const CpuWeight& weight, Precision precision);

/// out = store(matrix in + bias) for all panels of the input.
struct Product {
  const Matrix* matrix = nullptr;
  Input* in = nullptr;
  Store store = Store::kSet;
  Activation activation = Activation::kSilu;
  float* out = nullptr;
};

/// One or more products; those of the same `out` are neighbours with as many rows, and done in this
/// order. Of few tokens, all at once: one region of threads, not several.
absl::Status MatMul(std::span<const Product> products, Precision precision);
inline absl::Status MatMul(const Product& product, Precision precision) {
  return MatMul({&product, 1}, precision);
}

/// Rows of a tile so that every thread gets several tiles: a multiple of 12, at most `limit`.
uint32_t TileRows(uint64_t rows, uint32_t limit);

}  // namespace smelt::cpu
