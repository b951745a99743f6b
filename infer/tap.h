// Observers of what goes into matrix products.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/model/layer_spec.h"

namespace smelt {

/// Of each expert's matrix of a tensor (of the only one where there are none) and each of its
/// columns: the sum of the squares of its inputs, over so many tokens. Matrices that a tensor
/// stacks for heads count as one with the columns of all.
struct InputSquares {
  uint64_t columns = 0;
  std::vector<double> sums;      ///< [matrix][column]
  std::vector<uint64_t> counts;  ///< [matrix]
};

/// Of one matrix: the sum of x x^T over its inputs x, their second moment but for the number of
/// tokens.
struct InputGram {
  uint64_t columns = 0;
  uint64_t tokens = 0;
  /// [column][column]; what a tap is given is in [i][j] with j <= i.
  float* sums = nullptr;
};

/// What Backend::Run tells of its products' inputs, before they are rounded. Sums are the same for
/// any number of threads. Its methods are called between products, one call at a time.
class Tap {
 public:
  virtual ~Tap() = default;

  /// Where the inputs of products with `tensor` are added; nullptr: nobody asks for them.
  virtual InputSquares* Squares(TensorRef tensor, uint64_t columns, uint64_t matrices) = 0;

  /// Where x x^T of the inputs of a product with matrix number `index` of `tensor` is added;
  /// nullptr: nobody asks for it. `same`: what was returned for another product with the very same
  /// inputs, or nullptr; who returns it again has them once. Not called for matrices that a tensor
  /// stacks for heads.
  virtual absl::StatusOr<InputGram*> Gram(TensorRef tensor, uint64_t index, uint64_t columns,
                                          InputGram* same) {
    static_cast<void>(tensor), static_cast<void>(index), static_cast<void>(columns);
    static_cast<void>(same);
    return nullptr;
  }
};

}  // namespace smelt
