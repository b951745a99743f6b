// Merging as SentencePiece does it: two neighbours join when their text is a piece, the best score
// first.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "lib/text/merges.h"
#include "lib/text/token_table.h"

namespace smelt {

/// Ranks of scores: 0 for the best, equal scores have equal ranks.
std::vector<uint32_t> RankScores(const std::vector<float>& scores);

/// Merges `symbols` (whose begins are offsets into `text`). `accept(id)` says whether a piece can
/// be the result of a merge.
template <typename Accept>
void MergeByText(std::string_view text, const TokenTable& tokens,
                 const std::vector<uint32_t>& ranks, const Accept& accept,
                 std::vector<Symbol>& symbols) {
  const auto find = [&](int32_t left, int32_t right) -> std::optional<Merge> {
    const Symbol& a = symbols[left];
    const Symbol& b = symbols[right];
    if (a.frozen || b.frozen) return std::nullopt;
    const size_t end = b.next < 0 ? text.size() : symbols[b.next].begin;
    if (end - a.begin > tokens.longest()) return std::nullopt;
    const int32_t id = tokens.Find(text.substr(a.begin, end - a.begin));
    if (id < 0 || !accept(id, a, b)) return std::nullopt;
    return Merge{ranks[static_cast<size_t>(id)], id};
  };
  MergeSymbols(symbols, find);
}

}  // namespace smelt
