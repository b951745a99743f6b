// Which of many texts begin at a place.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "lib/base/text_hash.h"

namespace smelt {

/// A trie over bytes; its edges in one hash table.
class ByteTrie {
 public:
  ByteTrie() { root_.fill(0); }
  /// `value` >= 0. False when the text is empty or there already.
  bool Insert(std::string_view text, int32_t value);
  bool empty() const { return values_.size() <= 1; }

  /// Calls visit(length, value) for every inserted text that `text` begins with, shortest first.
  template <typename Visit>
  void Prefixes(std::string_view text, const Visit& visit) const {
    if (text.empty()) return;
    uint32_t node = root_[static_cast<unsigned char>(text[0])];
    for (size_t i = 1; node != 0; ++i) {
      if (values_[node] >= 0) visit(i, values_[node]);
      if (i == text.size()) return;
      node = Child(node, static_cast<unsigned char>(text[i]));
    }
  }
  bool MayBegin(char c) const { return root_[static_cast<unsigned char>(c)] != 0; }

 private:
  struct Edge {
    uint32_t node = 0;  ///< 0: free, as no edge leaves the root here
    uint8_t byte = 0;
    uint32_t child = 0;
  };
  static size_t Hash(uint32_t node, uint8_t byte) { return HashPair(node, byte); }
  uint32_t Child(uint32_t node, uint8_t byte) const {
    if (edges_.empty()) return 0;
    const size_t mask = edges_.size() - 1;
    for (size_t i = Hash(node, byte) & mask;; i = (i + 1) & mask) {
      if (edges_[i].node == 0) return 0;
      if (edges_[i].node == node && edges_[i].byte == byte) return edges_[i].child;
    }
  }
  void Put(Edge edge);

  std::array<uint32_t, 256> root_;
  std::vector<Edge> edges_;
  size_t edge_count_ = 0;
  std::vector<int32_t> values_ = {-1};  ///< of nodes; node 0 is nobody
};

}  // namespace smelt
