#include "infer/graph.h"

namespace smelt {

namespace {

std::vector<const Matrix*> Matrices(const MatMulOp& op) { return {&op.matrix}; }
std::vector<const Matrix*> Matrices(const LatentAttentionOp& op) { return {&op.k_b, &op.v_b}; }
std::vector<const Matrix*> Matrices(const ExpertsOp& op) {
  return {&op.router,           &op.gate,      &op.up,          &op.down,
          &op.shared_gate_proj, &op.shared_up, &op.shared_down, &op.shared_gate};
}
template <typename Other>
std::vector<const Matrix*> Matrices(const Other&) {
  return {};
}

}  // namespace

std::vector<const Matrix*> MatricesOf(const Op& op) {
  std::vector<const Matrix*> matrices =
      std::visit([](const auto& kind) { return Matrices(kind); }, op);
  std::erase_if(matrices, [](const Matrix* m) { return !m->present(); });
  return matrices;
}

bool Overlap(const Graph& graph, Slot a, Slot b) {
  if (a <= kInputs || b <= kInputs) return a == b;
  const SlotInfo &x = graph.slots[a], &y = graph.slots[b];
  return x.offset < y.offset + y.features && y.offset < x.offset + x.features;
}

size_t ProductsFrom(const Graph& graph, size_t first) {
  const auto product = [&](size_t i) { return std::get_if<MatMulOp>(&graph.ops[i]); };
  size_t i = first;
  for (; i < graph.ops.size() && i - first < kMostProducts && product(i) != nullptr; ++i) {
    const MatMulOp& op = *product(i);
    if (op.in != product(first)->in || Overlap(graph, op.out, op.in)) break;
    bool apart = true;
    for (size_t j = first; j < i; ++j) {
      const MatMulOp& other = *product(j);
      const bool same = j + 1 == i && op.out == other.out && op.matrix.rows == other.matrix.rows;
      apart = apart && (same || !Overlap(graph, op.out, other.out));
    }
    if (!apart) break;
  }
  return i - first;
}

}  // namespace smelt
