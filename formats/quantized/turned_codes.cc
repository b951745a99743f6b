#include "formats/quantized/turned_codes.h"

#include <algorithm>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "formats/quantized/turned_codes.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace smelt {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::CappedTag<float, 8>;
using DU = hn::Rebind<uint32_t, DF>;
using VF = hn::Vec<DF>;

constexpr uint64_t kBlock = 64;  // columns at a time: whole words and whole cache lines of values
constexpr uint64_t kAhead = 16;  // lines, each of them in a page of its own

/// Where a column's codes lie, and what makes values of them.
struct Column {
  const std::byte *words, *rest;  ///< rest: of codes that go on in the next word, else null
  int shift;
  uint32_t mask;
  const float *scales, *zeros;
};

HWY_INLINE Column ColumnOf(const TurnedCodes& t, uint64_t column) {
  const uint64_t bit = column * t.bits, shift = bit % 32;
  const std::byte* const words = t.words + bit / 32 * t.words_step;
  const uint64_t group = t.groups[column] * t.groups_step;
  return {words,
          shift + t.bits > 32 ? words + t.words_step : nullptr,
          static_cast<int>(shift),
          (1u << t.bits) - 1,
          t.scales + group,
          t.zeros + group};
}

HWY_INLINE hn::Vec<DU> WordsAt(const std::byte* words, uint64_t lane) {
#if HWY_TARGET == HWY_SCALAR
  uint32_t word;
  std::memcpy(&word, words + lane * sizeof word, sizeof word);
  return hn::Set(DU(), word);
#else
  return hn::LoadU(DU(), reinterpret_cast<const uint32_t*>(words + lane * sizeof(uint32_t)));
#endif
}

/// A column's values in Lanes(DF) rows.
HWY_INLINE VF ValuesOf(const Column& c, uint64_t lane) {
  const DF df;
  const hn::Rebind<int32_t, DF> di;
  auto words = hn::ShiftRightSame(WordsAt(c.words, lane), c.shift);
  if (c.rest != nullptr)
    words = hn::Or(words, hn::ShiftLeftSame(WordsAt(c.rest, lane), 32 - c.shift));
  const auto codes = hn::BitCast(di, hn::And(words, hn::Set(DU(), c.mask)));
  const VF zeros = hn::LoadU(df, c.zeros + lane), scales = hn::LoadU(df, c.scales + lane);
  return hn::Mul(hn::Sub(hn::ConvertTo(df, codes), zeros), scales);
}

#if HWY_TARGET == HWY_SCALAR
constexpr uint64_t kColumns = 1;  // that are turned at a time

/// The column, to rows that are kBlock floats apart.
HWY_INLINE void TurnColumns(const TurnedCodes& t, uint64_t first, uint64_t, float* out) {
  const Column column = ColumnOf(t, first);
  for (uint64_t lane = 0; lane < kTurnedRows; ++lane)
    hn::StoreU(ValuesOf(column, lane), DF(), out + lane * kBlock);
}
#else
constexpr uint64_t kColumns = 4;

/// Four values of a row; the upper half of eight is the row four further on.
HWY_INLINE void StoreRow(VF values, float* out) {
  const DF df;
  const hn::Half<DF> half;
  if (hn::Lanes(df) == 8) {
    hn::StoreU(hn::LowerHalf(half, values), half, out);
    hn::StoreU(hn::UpperHalf(half, values), half, out + 4 * kBlock);
  } else {
    hn::StoreU(values, df, out);
  }
}

/// Columns [first, +4), but none after `last`, to rows that are kBlock floats apart.
HWY_INLINE void TurnColumns(const TurnedCodes& t, uint64_t first, uint64_t last, float* out) {
  const DF df;
  const Column columns[] = {ColumnOf(t, first), ColumnOf(t, std::min(first + 1, last)),
                            ColumnOf(t, std::min(first + 2, last)),
                            ColumnOf(t, std::min(first + 3, last))};
  for (uint64_t lane = 0; lane < kTurnedRows;
       lane += hn::Lanes(df), out += hn::Lanes(df) * kBlock) {
    const VF a = ValuesOf(columns[0], lane), b = ValuesOf(columns[1], lane),
             c = ValuesOf(columns[2], lane), d = ValuesOf(columns[3], lane);
    const VF even_low = hn::InterleaveLower(df, a, c), even_high = hn::InterleaveUpper(df, a, c),
             odd_low = hn::InterleaveLower(df, b, d), odd_high = hn::InterleaveUpper(df, b, d);
    StoreRow(hn::InterleaveLower(df, even_low, odd_low), out);
    StoreRow(hn::InterleaveUpper(df, even_low, odd_low), out + kBlock);
    StoreRow(hn::InterleaveLower(df, even_high, odd_high), out + 2 * kBlock);
    StoreRow(hn::InterleaveUpper(df, even_high, odd_high), out + 3 * kBlock);
  }
}
#endif

/// Columns [begin, +n) of kTurnedRows rows.
void DecodeBlock(const TurnedCodes& t, uint64_t begin, uint64_t n, uint64_t rows, float* out) {
  HWY_ALIGN float tile[kTurnedRows * kBlock];
  for (uint64_t c = 0; c < n; c += kColumns) TurnColumns(t, begin + c, t.columns - 1, tile + c);
  for (uint64_t r = 0; r < rows; ++r)
    std::memcpy(out + r * t.columns + begin, tile + r * kBlock, n * sizeof(float));
}

void DecodeTurned(const TurnedCodes& codes, uint64_t rows, float* out) {
  TurnedCodes t = codes;
  const uint64_t lines = (t.columns * t.bits + 31) / 32, width = rows * sizeof(uint32_t);
  for (uint64_t begin = 0; begin < t.columns; begin += kBlock) {
    const uint64_t n = std::min(kBlock, t.columns - begin), line = begin * t.bits / 32;
    for (uint64_t i = line + kAhead; i < std::min(line + kAhead + 2 * t.bits, lines); ++i) {
      for (uint64_t at = 0; at < width; at += 64)
        __builtin_prefetch(codes.words + i * t.words_step + at);
    }
    for (uint64_t r = 0; r < rows; r += kTurnedRows) {
      t.words = codes.words + r * sizeof(uint32_t);
      t.scales = codes.scales + r;
      t.zeros = codes.zeros + r;
      DecodeBlock(t, begin, n, std::min(kTurnedRows, rows - r), out + r * t.columns);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace smelt
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace smelt {

HWY_EXPORT(DecodeTurned);

void DecodeTurned(const TurnedCodes& codes, uint64_t rows, float* out) {
  HWY_DYNAMIC_DISPATCH(DecodeTurned)(codes, rows, out);
}

}  // namespace smelt
#endif
