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

/// Merges `symbols`, whose places are the bytes of `text`. `accept(id, left, right)` says whether a
/// piece can be the result of joining two symbols.
template <typename Accept>
void MergeByText(std::string_view text, const TokenTable& tokens,
                 const std::vector<uint32_t>& ranks, const Accept& accept, SymbolList& symbols) {
  const auto find = [&](uint32_t left, uint32_t right) -> std::optional<Merge> {
    if (symbols.id(left) == SymbolList::kFrozen || symbols.id(right) == SymbolList::kFrozen)
      return std::nullopt;
    const uint32_t length = symbols.Next(right) - left;
    if (length > tokens.longest()) return std::nullopt;
    const int32_t id = tokens.Find(text.substr(left, length));
    if (id < 0 || !accept(id, left, right)) return std::nullopt;
    return Merge{ranks[static_cast<size_t>(id)], id};
  };
  MergeSymbols(symbols, find);
}

}  // namespace smelt
