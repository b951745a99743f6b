#include "infer/token_bytes.h"

#include <algorithm>
#include <initializer_list>

#include "lib/base/tensor_type.h"

namespace smelt {
namespace {

uint64_t BytesOf(const Matrix& matrix, const ModelSource& source) {
  if (matrix.tensor == kNoTensor) return 0;
  const TensorInfo& info = source.tensors()[static_cast<size_t>(matrix.tensor)];
  return matrix.rows * RowBytes(info.type, matrix.columns).value_or(0);
}

uint64_t BytesOf(std::initializer_list<const Matrix*> matrices, const ModelSource& source) {
  uint64_t bytes = 0;
  for (const Matrix* matrix : matrices) bytes += BytesOf(*matrix, source);
  return bytes;
}

struct WeightsOf {
  const ModelSource& source;

  uint64_t operator()(const MatMulOp& op) const { return BytesOf(op.matrix, source); }
  uint64_t operator()(const LatentAttentionOp& op) const {
    return op.heads * BytesOf({&op.k_b, &op.v_b}, source);
  }
  uint64_t operator()(const ExpertsOp& op) const {
    return BytesOf(
               {&op.router, &op.shared_gate_proj, &op.shared_up, &op.shared_down, &op.shared_gate},
               source) +
           op.used * BytesOf({&op.gate, &op.up, &op.down}, source);
  }
  template <typename Op>
  uint64_t operator()(const Op&) const {
    return 0;
  }
};

}  // namespace

void TokenBytes::Add(const Graph& graph, const ModelSource& source) {
  for (const Op& op : graph.ops) {
    weights_ += std::visit(WeightsOf{source}, op);
    if (const AttentionOp* a = std::get_if<AttentionOp>(&op)) {
      const uint64_t values = a->values_in_keys ? 0 : a->value_size;
      caches_.push_back(
          {uint64_t{a->kv_heads} * (a->key_size + values) * sizeof(float), a->window});
    } else if (const LatentAttentionOp* l = std::get_if<LatentAttentionOp>(&op)) {
      caches_.push_back({uint64_t{l->rank + l->rope_size} * sizeof(float), 0});
    }
  }
}

void TokenBytes::Add(const Head& head, const ModelSource& source) {
  weights_ += BytesOf(head.output, source);
}

uint64_t TokenBytes::At(uint64_t positions) const {
  uint64_t bytes = weights_;
  for (const Cache& cache : caches_) {
    const uint64_t seen = cache.window == 0 ? positions : std::min(cache.window, positions);
    bytes += cache.bytes_per_position * seen;
  }
  return bytes;
}

}  // namespace smelt
