// The second moment of a matmul's inputs, made ready for rounding with feedback (feedback.h).
//
// H = sum of x x^T over tokens, damped. The columns of a row are decided one after the other, those
// of large inputs first, and each takes over what the rounding of earlier ones has cost. With H =
// R R^T, R upper triangular in the order of deciding, the error of a row is
//   (w - v) H (w - v)^T = sum over k of R_kk^2 (t_k - v_k)^2,  t_k = w_k + sum over j < k of (w_j -
//   v_j) A_jk,  A_jk = R_jk / R_kk,
// so that each v_k is best as near to its target t_k as the format allows (GPTQ, arXiv 2210.17323;
// LDLQ, arXiv 2307.13304, whose form this is: it needs no inverse of H).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"

namespace smelt {

class InputFactor {
 public:
  /// `gram`: row-major [columns][columns], the sum of x x^T over `tokens` tokens up to a common
  /// factor; its lower triangle (k <= j) is read. The same Gram matrix gives the same factor for
  /// any number of threads and every instruction set. kInvalidInput where it is no Gram matrix: a
  /// value that is no number, or a square of inputs that is negative. Inputs that were always zero
  /// (all of them, without tokens) are rounded each by itself.
  static absl::StatusOr<InputFactor> Make(uint64_t columns, std::span<const float> gram,
                                          uint64_t tokens);

  /// Bytes that a factor holds, and that Make needs besides the Gram matrix while it works.
  static uint64_t Bytes(uint64_t columns);
  static uint64_t PeakBytes(uint64_t columns);

  uint64_t columns() const { return order_.size(); }

  /// The column that is decided at each position. Blocks stay together, so that one order serves
  /// the matrices of one input whatever their types: positions i, i + 1, ... of an aligned run of
  /// 8, 16, 32, 64, 128 or 256 are columns of one such run, as far as it divides the columns.
  std::span<const uint32_t> order() const { return order_; }
  /// By column: the damped squares, H's diagonal.
  std::span<const float> squares() const { return squares_; }
  /// By position: A_jk at [j * columns + k] for j < k, zeros elsewhere.
  const float* feedback() const { return feedback_.data(); }
  /// By position: R_kk^2.
  const float* weights() const { return weights_.data(); }
  /// By position: the damped H.
  const float* moment() const { return moment_.data(); }

  /// The same for each group by itself, all other columns being settled: A at [j * size + k -
  /// first of j's group], and R_kk^2. Exist for groups of 16 and 32.
  struct Local {
    std::vector<float> feedback, weights;
  };
  const Local* local(uint32_t size) const;

  /// The sum of (w - v) H (w - v)^T over rows; `differences`: w - v, [row][column]. H is damped,
  /// its mean square about 1.
  double ErrorOf(uint64_t rows, std::span<const float> differences) const;

 private:
  std::vector<uint32_t> order_;
  std::vector<float> squares_, feedback_, weights_, moment_;
  Local local16_, local32_;
};

}  // namespace smelt
