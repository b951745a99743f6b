// What generating a token must read: the limit of its speed is that of the memory.
#pragma once

#include <cstdint>
#include <vector>

#include "infer/backend.h"
#include "infer/graph.h"
#include "lib/model/model_source.h"

namespace smelt {

class TokenBytes {
 public:
  /// A layer's matrices (of experts, the chosen ones), as the source stores them, and its cache.
  /// Norms, biases and other small tensors are left out.
  void Add(const Graph& graph, const ModelSource& source);
  void Add(const Head& head, const ModelSource& source);

  uint64_t weights() const { return weights_; }
  /// Weights, and the keys and values of so many positions, as far as windows reach.
  uint64_t At(uint64_t positions) const;

 private:
  struct Cache {
    uint64_t bytes_per_position = 0;
    uint64_t window = 0;  ///< positions; 0: all
  };
  uint64_t weights_ = 0;
  std::vector<Cache> caches_;
};

}  // namespace smelt
