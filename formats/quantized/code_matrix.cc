#include "formats/quantized/code_matrix.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "lib/base/per_thread.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

/// Where AWQ puts the eight codes of a word.
constexpr uint32_t kAwqPlace[] = {0, 4, 1, 5, 2, 6, 3, 7};

uint32_t WordAt(const std::byte* words, uint64_t i) {
  uint32_t word;
  std::memcpy(&word, words + i * sizeof word, sizeof word);
  return word;
}

/// A word of AWQ's with its codes in order: the even ones lie in its lower half, the odd ones
/// above.
uint32_t InOrder(uint32_t word) {
  const auto spread = [](uint32_t half) {  // four nibbles, every other place
    half = (half | half << 8) & 0x00ff00ffu;
    return (half | half << 4) & 0x0f0f0f0fu;
  };
  return spread(word & 0xffffu) | spread(word >> 16) << 4;
}

/// Whole words of codes, `step` bytes apart.
template <uint32_t kBits>
uint64_t UnpackWhole(const std::byte* words, uint64_t n, uint8_t* out, uint64_t step,
                     bool awq_order = false) {
  constexpr uint32_t kPerWord = 32 / kBits, kMask = (1u << kBits) - 1;
  const uint64_t whole = n / kPerWord;
  for (uint64_t w = 0; w < whole; ++w) {
    const uint32_t word = awq_order ? InOrder(WordAt(words, w)) : WordAt(words, w);
    for (uint32_t i = 0; i < kPerWord; ++i)
      out[(w * kPerWord + i) * step] = static_cast<uint8_t>(word >> (i * kBits) & kMask);
  }
  return whole * kPerWord;
}

/// Codes [first, +n) of a line of words into bytes `step` apart.
void Unpack(const std::byte* words, const CodeLayout& layout, uint64_t first, uint64_t n,
            uint8_t* out, uint64_t step) {
  const uint32_t bits = layout.bits, mask = (1u << bits) - 1, per_word = 32 / bits;
  const bool whole_words = layout.whole_words || 32 % bits == 0;
  uint64_t done = 0;
  if (whole_words && first % per_word == 0) {
    const std::byte* from = words + first / per_word * 4;
    if (bits == 4) done = UnpackWhole<4>(from, n, out, step, layout.awq_order);
    if (bits == 8) done = UnpackWhole<8>(from, n, out, step);
    if (bits == 2) done = UnpackWhole<2>(from, n, out, step);
  }
  for (uint64_t i = done; i < n; ++i) {
    const uint64_t at = first + i;
    if (whole_words) {
      const uint64_t place = layout.awq_order ? kAwqPlace[at % per_word] : at % per_word;
      out[i * step] = static_cast<uint8_t>(WordAt(words, at / per_word) >> (place * bits) & mask);
      continue;
    }
    const uint64_t bit = at * bits, word = bit / 32, shift = bit % 32;
    uint64_t two = WordAt(words, word);
    if (shift + bits > 32) two |= static_cast<uint64_t>(WordAt(words, word + 1)) << 32;
    out[i * step] = static_cast<uint8_t>(two >> shift & mask);
  }
}

/// The words that hold codes [first, +n), as whole lines need them.
struct WordRange {
  uint64_t begin, count;
  uint64_t first;  ///< the first code, counted from the first word
};
WordRange RangeOf(uint64_t first, uint64_t n, const CodeLayout& layout) {
  // From a code at which a word begins: of 32 codes, dense ones fill `bits` words.
  const uint64_t unit = layout.whole_words || 32 % layout.bits == 0 ? 32 / layout.bits : 32;
  const uint64_t base = first / unit * unit;
  const uint64_t begin = WordsOf(base, layout);
  return {begin, WordsOf(first + n, layout) - begin, first - base};
}

}  // namespace

uint64_t WordsOf(uint64_t n, const CodeLayout& layout) {
  const uint64_t per_word = 32 / layout.bits;
  return layout.whole_words ? (n + per_word - 1) / per_word : (n * layout.bits + 31) / 32;
}

absl::StatusOr<CodeMatrix> CodeMatrix::Make(const RawTensor& tensor, const CodeLayout& layout,
                                            uint64_t rows, uint64_t columns) {
  CodeMatrix matrix;
  SMELT_ASSIGN_OR_RETURN(matrix.stored_, StoredMatrix::Make(tensor));
  matrix.layout_ = layout;
  matrix.rows_ = rows;
  matrix.columns_ = columns;
  uint64_t stored_rows = layout.along_rows ? WordsOf(rows, layout) : rows;
  uint64_t stored_columns = layout.along_rows ? columns : WordsOf(columns, layout);
  if (layout.transposed) std::swap(stored_rows, stored_columns);
  const bool words = tensor.dtype == RawType::kI32 || tensor.dtype == RawType::kU32;
  if (!words || matrix.stored_.rows() != stored_rows ||
      matrix.stored_.columns() != stored_columns) {
    return Error(ErrorCode::kInvalidInput, "tensor ", Escape(tensor.name), " is ",
                 Name(tensor.dtype), " ", ShapeText(tensor.shape), ", expected ", stored_rows,
                 " x ", stored_columns, " words of ", layout.bits, "-bit codes for ", rows, " x ",
                 columns, " values");
  }
  return matrix;
}

absl::Status CodeMatrix::Read(uint64_t first, uint64_t count, uint8_t* out) const {
  return layout_.along_rows ? ReadAlongRows(first, count, out)
                            : ReadAlongColumns(first, count, out);
}

absl::Status CodeMatrix::ReadAlongColumns(uint64_t first, uint64_t count, uint8_t* out) const {
  static const PerThread<ByteBuffer> stored, turned;
  const uint64_t words = WordsOf(columns_, layout_);
  std::byte* lines = stored->Reserve(words * count * 4);
  if (layout_.transposed) {
    SMELT_RETURN_IF_ERROR(stored_.Read(0, words, first, count, lines));
    std::byte* const rows = turned->Reserve(words * count * 4);
    constexpr uint64_t kTile = 16;  // a cache line of words
    for (uint64_t r = 0; r < count; r += kTile) {
      for (uint64_t w = 0; w < words; ++w) {
        for (uint64_t i = r; i < std::min(r + kTile, count); ++i)
          std::memcpy(rows + (i * words + w) * 4, lines + (w * count + i) * 4, 4);
      }
    }
    lines = rows;
  } else {
    SMELT_RETURN_IF_ERROR(stored_.Read(first, count, lines));
  }
  for (uint64_t i = 0; i < count; ++i)
    Unpack(lines + i * words * 4, layout_, 0, columns_, out + i * columns_, 1);
  return absl::OkStatus();
}

absl::Status CodeMatrix::ReadAlongRows(uint64_t first, uint64_t count, uint8_t* out) const {
  static const PerThread<ByteBuffer> stored, turned;
  const WordRange range = RangeOf(first, count, layout_);
  std::byte* lines = stored->Reserve(range.count * columns_ * 4);
  if (layout_.transposed) {
    SMELT_RETURN_IF_ERROR(stored_.Read(0, columns_, range.begin, range.count, lines));
  } else {
    SMELT_RETURN_IF_ERROR(stored_.Read(range.begin, range.count, lines));
    std::byte* const columns = turned->Reserve(range.count * columns_ * 4);
    for (uint64_t w = 0; w < range.count; ++w) {
      for (uint64_t c = 0; c < columns_; ++c)
        std::memcpy(columns + (c * range.count + w) * 4, lines + (w * columns_ + c) * 4, 4);
    }
    lines = columns;
  }
  // A few columns at a time, so that neighbouring codes of a row are written together.
  constexpr uint64_t kColumns = 64;
  std::vector<uint8_t> codes(kColumns * count);
  for (uint64_t c = 0; c < columns_; c += kColumns) {
    const uint64_t n = std::min(kColumns, columns_ - c);
    for (uint64_t i = 0; i < n; ++i)
      Unpack(lines + (c + i) * range.count * 4, layout_, range.first, count, &codes[i], kColumns);
    for (uint64_t r = 0; r < count; ++r)
      std::memcpy(out + r * columns_ + c, &codes[r * kColumns], n);
  }
  return absl::OkStatus();
}

}  // namespace smelt
