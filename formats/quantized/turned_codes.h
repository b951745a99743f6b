// Values of codes that lie column by column, with as many rows side by side as a cache line has
// words: lanes are rows, so that a column's group may be any one.
#pragma once

#include <cstddef>
#include <cstdint>

namespace smelt {

inline constexpr uint64_t kTurnedRows = 16;

/// A whole number of kTurnedRows rows. Codes of a row follow each other without a gap, across
/// words.
struct TurnedCodes {
  const std::byte* words;  ///< line w, `words_step` bytes behind the one before: word w of each row
  uint64_t words_step;
  uint32_t bits;  ///< 1 to 8
  uint64_t columns;
  const uint32_t* groups;       ///< of each column
  const float *scales, *zeros;  ///< line g, `groups_step` floats behind the one before: each row's
  uint64_t groups_step;
};

/// (code - zero) * scale of the first `rows` rows, row after row; what lies behind them up to a
/// whole number of kTurnedRows is read, too.
void DecodeTurned(const TurnedCodes& codes, uint64_t rows, float* out);

}  // namespace smelt
