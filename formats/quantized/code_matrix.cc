#include "formats/quantized/code_matrix.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "lib/base/per_thread.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

/// Where AWQ puts the eight codes of a word; and whose code is where.
constexpr uint32_t kAwqPlace[] = {0, 4, 1, 5, 2, 6, 3, 7}, kAwqCode[] = {0, 2, 4, 6, 1, 3, 5, 7},
                   kInOrder[] = {0, 1, 2, 3, 4, 5, 6, 7};

uint32_t WordAt(const std::byte* words, uint64_t i) {
  uint32_t word;
  std::memcpy(&word, words + i * sizeof word, sizeof word);
  return word;
}

/// The eight codes of a word, one a byte.
uint64_t CodesOf(uint32_t word) {
  uint64_t codes = word;
  codes = (codes | codes << 16) & 0x0000ffff0000ffffu;
  codes = (codes | codes << 8) & 0x00ff00ff00ff00ffu;
  return (codes | codes << 4) & 0x0f0f0f0f0f0f0f0fu;
}

/// Whole words of eight codes.
uint64_t UnpackNibbles(const std::byte* words, uint64_t n, uint8_t* out) {
  const uint64_t whole = n / 8;
  for (uint64_t w = 0; w < whole; ++w) {
    const uint64_t codes = CodesOf(WordAt(words, w));
    std::memcpy(out + w * 8, &codes, sizeof codes);
  }
  return whole * 8;
}

/// Changes places: the upper part of `a` under `mask` << bits with the lower part of `b`.
void Swap(uint64_t& a, uint64_t& b, int bits, uint64_t mask) {
  const uint64_t change = (a >> bits ^ b) & mask;
  b ^= change;
  a ^= change << bits;
}

/// out[j][i] = in[i][j] of 8 x 8 bytes, by halves.
void Turn8(const uint8_t* in, uint64_t in_step, uint8_t* out, uint64_t out_step) {
  uint64_t x[8];
  for (uint64_t i = 0; i < 8; ++i) std::memcpy(&x[i], in + i * in_step, 8);
  for (size_t i = 0; i < 4; ++i) Swap(x[i], x[i + 4], 32, 0x00000000ffffffffu);
  for (const size_t i : {0, 1, 4, 5}) Swap(x[i], x[i + 2], 16, 0x0000ffff0000ffffu);
  for (const size_t i : {0, 2, 4, 6}) Swap(x[i], x[i + 1], 8, 0x00ff00ff00ff00ffu);
  for (uint64_t i = 0; i < 8; ++i) std::memcpy(out + i * out_step, &x[i], 8);
}

/// Eight words of eight codes, `step` bytes apart, are columns of an 8 x 8 matrix: its rows, row
/// `i` to out[row[i]].
void TurnNibbles(const std::byte* words, uint64_t step, const uint32_t (&row)[8], uint8_t* out,
                 uint64_t out_step) {
  uint64_t even[4], odd[4];  // codes 0, 2, 4, 6 and 1, 3, 5, 7 of columns i and i + 4
  for (uint64_t i = 0; i < 4; ++i) {
    const uint64_t two = WordAt(words + i * step, 0) |
                         static_cast<uint64_t>(WordAt(words + (i + 4) * step, 0)) << 32;
    even[i] = two & 0x0f0f0f0f0f0f0f0fu;
    odd[i] = two >> 4 & 0x0f0f0f0f0f0f0f0fu;
  }
  for (uint64_t* x : {even, odd}) {  // 4 x 4 bytes in each half
    for (const size_t i : {0, 1}) Swap(x[i], x[i + 2], 16, 0x0000ffff0000ffffu);
    for (const size_t i : {0, 2}) Swap(x[i], x[i + 1], 8, 0x00ff00ff00ff00ffu);
  }
  for (size_t i = 0; i < 4; ++i) {
    std::memcpy(out + row[2 * i] * out_step, &even[i], 8);
    std::memcpy(out + row[2 * i + 1] * out_step, &odd[i], 8);
  }
}

/// out[j][i] = in[i][j] of `rows` x `columns` bytes.
void Turn(const uint8_t* in, uint64_t rows, uint64_t columns, uint64_t in_step, uint8_t* out,
          uint64_t out_step) {
  const uint64_t whole_rows = rows / 8 * 8, whole_columns = columns / 8 * 8;
  for (uint64_t i = 0; i < whole_rows; i += 8) {
    for (uint64_t j = 0; j < whole_columns; j += 8)
      Turn8(in + i * in_step + j, in_step, out + j * out_step + i, out_step);
  }
  for (uint64_t i = 0; i < rows; ++i) {
    for (uint64_t j = i < whole_rows ? whole_columns : 0; j < columns; ++j)
      out[j * out_step + i] = in[i * in_step + j];
  }
}

/// Whole words of codes.
template <uint32_t kBits>
uint64_t UnpackWhole(const std::byte* words, uint64_t n, uint8_t* out) {
  constexpr uint32_t kPerWord = 32 / kBits, kMask = (1u << kBits) - 1;
  const uint64_t whole = n / kPerWord;
  for (uint64_t w = 0; w < whole; ++w) {
    const uint32_t word = WordAt(words, w);
    for (uint32_t i = 0; i < kPerWord; ++i)
      out[w * kPerWord + i] = static_cast<uint8_t>(word >> (i * kBits) & kMask);
  }
  return whole * kPerWord;
}

/// Codes [first, +n) of a line of words.
void Unpack(const std::byte* words, const CodeLayout& layout, uint64_t first, uint64_t n,
            uint8_t* out) {
  const uint32_t bits = layout.bits, mask = (1u << bits) - 1, per_word = 32 / bits;
  const bool whole_words = layout.whole_words || 32 % bits == 0;
  uint64_t done = 0;
  if (whole_words && first % per_word == 0) {
    const std::byte* from = words + first / per_word * 4;
    if (bits == 4 && !layout.awq_order) done = UnpackNibbles(from, n, out);
    if (bits == 8) done = UnpackWhole<8>(from, n, out);
    if (bits == 2) done = UnpackWhole<2>(from, n, out);
  }
  for (uint64_t i = done; i < n; ++i) {
    const uint64_t at = first + i;
    if (whole_words) {
      const uint64_t place = layout.awq_order ? kAwqPlace[at % per_word] : at % per_word;
      out[i] = static_cast<uint8_t>(WordAt(words, at / per_word) >> (place * bits) & mask);
      continue;
    }
    const uint64_t bit = at * bits, word = bit / 32, shift = bit % 32;
    uint64_t two = WordAt(words, word);
    if (shift + bits > 32) two |= static_cast<uint64_t>(WordAt(words, word + 1)) << 32;
    out[i] = static_cast<uint8_t>(two >> shift & mask);
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
  if (turned()) {
    return Error(ErrorCode::kInternal, "tensor ", Escape(stored_.tensor().name),
                 ": its codes lie column by column");
  }
  SMELT_RETURN_IF_ERROR(layout_.less_one ? ReadPlusOne(first, count, out)
                                         : ReadStored(first, count, out));
  if (layout_.flip == 0) return absl::OkStatus();
  for (uint64_t i = 0; i < count * columns_; ++i) out[i] ^= layout_.flip;
  return absl::OkStatus();
}

absl::Status CodeMatrix::ReadStored(uint64_t first, uint64_t count, uint8_t* out) const {
  return layout_.along_rows ? ReadAlongRows(first, count, out)
                            : ReadAlongColumns(first, count, out);
}

/// Of codes along rows, each with what the ones before it in its word carry over.
absl::Status CodeMatrix::ReadPlusOne(uint64_t first, uint64_t count, uint8_t* out) const {
  const uint32_t bits = layout_.bits, mask = (1u << bits) - 1;
  const uint64_t in_word = 32 % bits == 0 ? 32 / bits : 1, begin = first / in_word * in_word;
  std::vector<uint8_t> codes((first + count - begin) * columns_), carries(columns_);
  SMELT_RETURN_IF_ERROR(ReadStored(begin, first + count - begin, codes.data()));
  for (uint64_t row = 0; row < first + count - begin; ++row) {
    if (row % in_word == 0) std::ranges::fill(carries, uint8_t{0});
    for (uint64_t c = 0; c < columns_; ++c) {
      const uint32_t sum = codes[row * columns_ + c] + 1u + carries[c];
      codes[row * columns_ + c] = static_cast<uint8_t>(sum & mask);
      carries[c] = static_cast<uint8_t>(sum >> bits);
    }
  }
  std::ranges::copy(codes.begin() + static_cast<std::ptrdiff_t>((first - begin) * columns_),
                    codes.end(), out);
  return absl::OkStatus();
}

absl::Status CodeMatrix::ReadAlongColumns(uint64_t first, uint64_t count, uint8_t* out) const {
  static const PerThread<ByteBuffer> stored;
  const uint64_t words = WordsOf(columns_, layout_);
  std::byte* const lines = stored->Reserve(words * count * 4);
  SMELT_RETURN_IF_ERROR(stored_.Read(first, count, lines));
  for (uint64_t i = 0; i < count; ++i)
    Unpack(lines + i * words * 4, layout_, 0, columns_, out + i * columns_);
  return absl::OkStatus();
}

absl::Status CodeMatrix::ReadAlongRows(uint64_t first, uint64_t count, uint8_t* out) const {
  static const PerThread<ByteBuffer> stored, turned;
  constexpr uint64_t kColumns = 64;  // at a time, so that neighbours of a row are written together
  const WordRange range = RangeOf(first, count, layout_);
  StoredMatrix::Lines lines;  // one of words for each column
  if (layout_.transposed) {
    SMELT_ASSIGN_OR_RETURN(lines, stored_.View(0, columns_, range.begin, range.count, *stored));
  } else {
    std::byte* const read = stored->Reserve(range.count * columns_ * 4);
    SMELT_RETURN_IF_ERROR(stored_.Read(range.begin, range.count, read));
    std::byte* const columns = turned->Reserve(range.count * columns_ * 4);
    for (uint64_t w = 0; w < range.count; ++w) {
      for (uint64_t c = 0; c < columns_; ++c)
        std::memcpy(columns + (c * range.count + w) * 4, read + (w * columns_ + c) * 4, 4);
    }
    lines = {columns, range.count * 4};
  }
  uint64_t done = 0;
  if (layout_.bits == 4) {
    done = columns_ / 8 * 8;
    const auto& place = layout_.awq_order ? kAwqCode : kInOrder;
    for (uint64_t c = 0; c < done; c += kColumns) {
      const uint64_t n = std::min(kColumns, done - c);
      for (uint64_t i = c + kColumns; i < std::min(c + 2 * kColumns, done); ++i)
        __builtin_prefetch(lines.data + i * lines.step);
      for (uint64_t w = 0; w < range.count; ++w) {
        uint8_t cut[8 * kColumns];  // of a word whose rows are not all wanted
        const uint64_t begin = std::max(w * 8, range.first),
                       end = std::min(w * 8 + 8, range.first + count);
        uint8_t* const rows = out + (begin - range.first) * columns_ + c;
        const bool whole = end - begin == 8;
        for (uint64_t k = 0; k < n; k += 8) {
          TurnNibbles(lines.data + (c + k) * lines.step + w * 4, lines.step, place,
                      (whole ? rows : cut) + k, whole ? columns_ : kColumns);
        }
        for (uint64_t r = begin; r < end && !whole; ++r)
          std::memcpy(rows + (r - begin) * columns_, cut + (r - w * 8) * kColumns, n);
      }
    }
  }
  if (done == columns_) return absl::OkStatus();
  std::vector<uint8_t> codes(kColumns * count);
  for (uint64_t c = done; c < columns_; c += kColumns) {
    const uint64_t n = std::min(kColumns, columns_ - c);
    for (uint64_t i = 0; i < n; ++i)
      Unpack(lines.data + (c + i) * lines.step, layout_, range.first, count, &codes[i * count]);
    Turn(codes.data(), n, count, count, out + c, columns_);
  }
  return absl::OkStatus();
}

}  // namespace smelt
