#include "infer/token_cost.h"

#include <algorithm>

#include "lib/base/tensor_type.h"

namespace smelt {
namespace {

uint64_t Seen(uint64_t window, uint64_t positions) {
  return window == 0 ? positions : std::min(window, positions);
}

}  // namespace

void TokenCost::AddProducts(uint64_t times, const Matrix& matrix, const ModelSource& source) {
  if (matrix.tensor == kNoTensor) return;
  const TensorInfo& info = source.tensors()[static_cast<size_t>(matrix.tensor)];
  weight_bytes_ += times * matrix.rows * RowBytes(info.type, matrix.columns).value_or(0);
  operations_ += 2 * times * matrix.rows * matrix.columns;
}

void TokenCost::AddOp(const MatMulOp& op, const ModelSource& source) {
  AddProducts(1, op.matrix, source);
}

void TokenCost::AddOp(const AttentionOp& op, const ModelSource&) {
  const uint64_t values = op.values_in_keys ? 0 : op.value_size;
  attended_.push_back({.bytes = op.kv_heads * (op.key_size + values) * cache_bytes_,
                       .operations = 2 * uint64_t{op.heads} * (op.key_size + op.value_size),
                       .window = op.window});
}

void TokenCost::AddOp(const LatentAttentionOp& op, const ModelSource& source) {
  for (const Matrix* matrix : {&op.k_b, &op.v_b}) AddProducts(op.heads, *matrix, source);
  attended_.push_back({.bytes = uint64_t{op.rank + op.rope_size} * cache_bytes_,
                       .operations = 2 * uint64_t{op.heads} * (2 * op.rank + op.rope_size)});
}

void TokenCost::AddOp(const ExpertsOp& op, const ModelSource& source) {
  for (const Matrix* matrix :
       {&op.router, &op.shared_gate_proj, &op.shared_up, &op.shared_down, &op.shared_gate})
    AddProducts(1, *matrix, source);
  for (const Matrix* matrix : {&op.gate, &op.up, &op.down}) AddProducts(op.used, *matrix, source);
}

void TokenCost::AddOp(const ConvOp& op, const ModelSource&) {
  operations_ += 2 * uint64_t{op.channels} * op.taps;
}

// h = decay h + b x, y += c h; the decay is one of each value of the state.
void TokenCost::AddOp(const Scan1Op& op, const ModelSource&) {
  operations_ += 7 * uint64_t{op.inner} * op.state;
}

void TokenCost::AddOp(const Scan2Op& op, const ModelSource&) {
  operations_ += 6 * uint64_t{op.inner} * op.state;
}

// The state is scaled, read by a key, written by it and read by a query.
void TokenCost::AddOp(const DeltaOp& op, const ModelSource&) {
  operations_ += 7 * uint64_t{op.value_heads} * op.value_size * op.key_size;
}

void TokenCost::Add(const Graph& graph, const ModelSource& source) {
  for (const Op& op : graph.ops) {
    std::visit([&](const auto& kind) { AddOp(kind, source); }, op);
  }
}

void TokenCost::Add(const Head& head, const ModelSource& source) {
  AddProducts(1, head.output, source);
}

uint64_t TokenCost::Bytes(uint64_t positions) const {
  uint64_t bytes = weight_bytes_;
  for (const Attended& a : attended_) bytes += a.bytes * Seen(a.window, positions);
  return bytes;
}

uint64_t TokenCost::Operations(uint64_t positions) const {
  uint64_t operations = operations_;
  for (const Attended& a : attended_) operations += a.operations * Seen(a.window, positions);
  return operations;
}

}  // namespace smelt
