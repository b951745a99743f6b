// The segmentation of a word into pieces with the best sum of scores (Kudo 2018,
// arXiv:1804.10959), in the arithmetic of a caller: sums that tie in one do not in the other.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string_view>
#include <vector>

#include "lib/base/utf8.h"
#include "lib/text/components/byte_trie.h"

namespace smelt {

struct Segmentation {
  struct Segment {
    size_t begin, end;
    int32_t id;  ///< -1: a character that no piece begins with
  };
  std::vector<Segment> segments;
  bool lacks_character = false;  ///< some character of the word is no piece
};

/// `score(id, length)`: a Number. `restart_beyond`: sums farther from zero than this start again at
/// zero; INFINITY: never. Of equal sums the piece that begins first counts.
template <typename Number, typename Score>
Segmentation BestSegmentation(std::string_view word, const ByteTrie& pieces, const Score& score,
                              Number unknown_score, Number restart_beyond) {
  struct Node {
    Number sum = 0;
    size_t begin = SIZE_MAX;  // of the last piece; SIZE_MAX: not reached
    int32_t id = -1;
  };
  Segmentation out;
  std::vector<Node> best(word.size() + 1);
  size_t farthest = 0;
  for (size_t at = 0; at < word.size();) {
    const size_t char_length = DecodeUtf8(word.substr(at, 4)).length;
    if (std::abs(best[at].sum) > restart_beyond) {
      const Number offset = best[at].sum;
      best[at].sum = 0;
      for (size_t i = at + 1; i <= farthest; ++i) {
        if (best[i].begin != SIZE_MAX) best[i].sum -= offset;
      }
    }
    const Number here = best[at].sum;
    bool single = false;
    const auto offer = [&](size_t length, int32_t id, Number sum) {
      Node& node = best[at + length];
      farthest = std::max(farthest, at + length);
      if (node.begin == SIZE_MAX || sum > node.sum) node = {sum, at, id};
    };
    pieces.Prefixes(word.substr(at), [&](size_t length, int32_t id) {
      offer(length, id, score(id, length) + here);
      single = single || length == char_length;
    });
    if (!single) {
      out.lacks_character = true;
      offer(char_length, -1, unknown_score + here);
    }
    at += char_length;
  }
  for (size_t end = word.size(); end > 0; end = best[end].begin)
    out.segments.push_back({best[end].begin, end, best[end].id});
  std::reverse(out.segments.begin(), out.segments.end());
  return out;
}

}  // namespace smelt
