#include "lib/text/components/byte_trie.h"

#include <algorithm>

namespace smelt {

void ByteTrie::Put(Edge edge) {
  const size_t mask = edges_.size() - 1;
  size_t i = Hash(edge.node, edge.byte) & mask;
  while (edges_[i].node != 0) i = (i + 1) & mask;
  edges_[i] = edge;
}

bool ByteTrie::Insert(std::string_view text, int32_t value) {
  if (text.empty()) return false;
  const auto fresh = [&] {
    values_.push_back(-1);
    return static_cast<uint32_t>(values_.size() - 1);
  };
  uint32_t& first = root_[static_cast<unsigned char>(text[0])];
  if (first == 0) first = fresh();
  uint32_t node = first;
  for (size_t i = 1; i < text.size(); ++i) {
    const auto byte = static_cast<uint8_t>(text[i]);
    uint32_t child = Child(node, byte);
    if (child == 0) {
      child = fresh();
      if ((edge_count_ + 1) * 3 > edges_.size() * 2) {
        std::vector<Edge> old = std::move(edges_);
        edges_.assign(std::max<size_t>(64, old.size() * 2), Edge());
        for (const Edge& edge : old) {
          if (edge.node != 0) Put(edge);
        }
      }
      Put({node, byte, child});
      ++edge_count_;
    }
    node = child;
  }
  if (values_[node] >= 0) return false;
  values_[node] = value;
  return true;
}

}  // namespace smelt
