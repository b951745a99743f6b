// Observers of what goes into matrix products.
#pragma once

#include <cstdint>
#include <vector>

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

/// What Backend::Run tells of its products' inputs, before they are rounded. Sums are the same for
/// any number of threads.
class Tap {
 public:
  virtual ~Tap() = default;

  /// Where the inputs of products with `tensor` are added; nullptr: nobody asks for them. Called
  /// between products, one call at a time.
  virtual InputSquares* Squares(TensorRef tensor, uint64_t columns, uint64_t matrices) = 0;
};

}  // namespace smelt
