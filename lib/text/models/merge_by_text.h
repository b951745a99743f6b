// Merging as SentencePiece does it: two neighbours join when their text is a piece, the best score
// first.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "lib/text/models/merges.h"
#include "lib/text/spec/token_table.h"

namespace smelt {

/// Ranks of scores: 0 for the best, equal scores have equal ranks.
std::vector<uint32_t> RankScores(const std::vector<float>& scores);

/// The symbols of a text, with where they begin.
class TextSymbols {
 public:
  explicit TextSymbols(std::string_view text) : text_(text) {
    constexpr size_t kUsual = 256;
    list_.Reserve(std::min(text.size(), kUsual));
    begins_.reserve(std::min(text.size(), kUsual));
  }
  /// Begins where the last one ended.
  void Add(int32_t id, size_t length) {
    list_.Add(id);
    begins_.push_back(end_);
    end_ += static_cast<uint32_t>(length);
  }
  SymbolList& list() { return list_; }
  const SymbolList& list() const { return list_; }
  size_t Begin(uint32_t symbol) const {
    return symbol == list_.size() ? text_.size() : begins_[symbol];
  }
  size_t Length(uint32_t symbol) const { return Begin(list_.Next(symbol)) - Begin(symbol); }
  std::string_view Text(uint32_t symbol) const {
    return text_.substr(Begin(symbol), Length(symbol));
  }

 private:
  std::string_view text_;
  SymbolList list_;
  std::vector<uint32_t> begins_;
  uint32_t end_ = 0;
};

/// An unused piece is split into what it was merged from, and its parts likewise, so many times at
/// most: then it stays (the library's own limit).
constexpr int kMaxSplits = 101;

/// Merges `symbols` of `text`. `accept(id, left, right)` says whether a piece can be the result of
/// joining two symbols.
template <typename Accept>
void MergeByText(std::string_view text, const TokenTable& tokens,
                 const std::vector<uint32_t>& ranks, const Accept& accept, TextSymbols& symbols) {
  const auto find = [&](uint32_t left, uint32_t right) -> std::optional<Merge> {
    if (symbols.list().id(left) == SymbolList::kFrozen ||
        symbols.list().id(right) == SymbolList::kFrozen)
      return std::nullopt;
    const size_t begin = symbols.Begin(left);
    const size_t length = symbols.Begin(symbols.list().Next(right)) - begin;
    if (length > tokens.longest()) return std::nullopt;
    const int32_t id = tokens.Find(text.substr(begin, length));
    if (id < 0 || !accept(id, left, right)) return std::nullopt;
    return Merge{ranks[static_cast<size_t>(id)], id};
  };
  MergeSymbols(symbols.list(), find);
}

}  // namespace smelt
