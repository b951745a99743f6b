// What generating a token takes: bytes that must be read, whose speed is the memory's, and
// operations.
#pragma once

#include <cstdint>
#include <vector>

#include "infer/backend.h"
#include "infer/graph.h"
#include "lib/model/model_source.h"

namespace smelt {

class TokenCost {
 public:
  explicit TokenCost(CacheType cache = CacheType::kF32)
      : cache_bytes_(cache == CacheType::kF16 ? 2 : sizeof(float)) {}
  /// A layer's matrices (of experts, the chosen ones), as the source stores them, its cache and its
  /// recurrent state. Norms, biases and other small tensors are left out.
  void Add(const Graph& graph, const ModelSource& source);
  void Add(const Head& head, const ModelSource& source);

  /// Weights, and the keys and values of so many positions, as far as windows reach.
  uint64_t Bytes(uint64_t positions) const;
  /// Multiplications and additions: of the products, of attention to so many positions, of
  /// convolutions and recurrent states.
  uint64_t Operations(uint64_t positions) const;

 private:
  struct Attended {
    uint64_t bytes = 0, operations = 0;  ///< of a position
    uint64_t window = 0;                 ///< positions; 0: all
  };
  void AddProducts(uint64_t times, const Matrix& matrix, const ModelSource& source);
  template <typename Op>
  void AddOp(const Op&, const ModelSource&) {}
  void AddOp(const MatMulOp& op, const ModelSource& source);
  void AddOp(const AttentionOp& op, const ModelSource& source);
  void AddOp(const LatentAttentionOp& op, const ModelSource& source);
  void AddOp(const ExpertsOp& op, const ModelSource& source);
  void AddOp(const ConvOp& op, const ModelSource& source);
  void AddOp(const Scan1Op& op, const ModelSource& source);
  void AddOp(const Scan2Op& op, const ModelSource& source);
  void AddOp(const DeltaOp& op, const ModelSource& source);

  uint64_t cache_bytes_;  // of an element of keys or values
  uint64_t weight_bytes_ = 0, operations_ = 0;
  std::vector<Attended> attended_;
};

}  // namespace smelt
