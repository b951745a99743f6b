// Small unsigned integers packed into words of 32 bits: codes of weights, and their zero points.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "formats/quantized/stored_matrix.h"

namespace smelt {

/// Where code (row, column) lies.
struct CodeLayout {
  uint32_t bits = 4;  ///< 1 to 8
  /// A word holds codes of neighbouring rows, not of neighbouring columns.
  bool along_rows = false;
  /// Stored column by column: the stored matrix is the transpose.
  bool transposed = false;
  /// A word holds 32 / bits whole codes. Otherwise codes follow each other without a gap, across
  /// words. The same where bits divide 32.
  bool whole_words = false;
  /// The eight codes of a word lie in AWQ's order.
  bool awq_order = false;
  /// Exclusive-or with every code: 8 turns 4-bit integers with a sign into ones from 0 on.
  uint8_t flip = 0;
  /// One was taken from each code: of codes that fill words from the whole word, so that a code of
  /// 0 borrows from the next one, of others from each by itself, modulo 2^bits.
  bool less_one = false;
};

/// Words for `n` codes.
uint64_t WordsOf(uint64_t n, const CodeLayout& layout);

class CodeMatrix {
 public:
  CodeMatrix() = default;
  /// kInvalidInput where the stored shape does not hold rows x columns codes.
  static absl::StatusOr<CodeMatrix> Make(const RawTensor& tensor, const CodeLayout& layout,
                                         uint64_t rows, uint64_t columns);

  uint64_t rows() const { return rows_; }
  uint64_t columns() const { return columns_; }

  /// Words hold neighbours of a row and lie column by column: they are read by View alone.
  bool turned() const { return layout_.transposed && !layout_.along_rows; }
  uint64_t lines() const { return stored_.rows(); }

  /// Codes of rows [first, +count), row after row. Not of turned ones.
  absl::Status Read(uint64_t first, uint64_t count, uint8_t* out) const;
  /// Of turned ones the words of these rows where they lie: line w has word w of each row.
  absl::StatusOr<StoredMatrix::Lines> View(uint64_t first, uint64_t count,
                                           ByteBuffer& buffer) const {
    return stored_.View(0, lines(), first, count, buffer);
  }

 private:
  absl::Status ReadStored(uint64_t first, uint64_t count, uint8_t* out) const;
  absl::Status ReadPlusOne(uint64_t first, uint64_t count, uint8_t* out) const;
  absl::Status ReadAlongColumns(uint64_t first, uint64_t count, uint8_t* out) const;
  absl::Status ReadAlongRows(uint64_t first, uint64_t count, uint8_t* out) const;

  StoredMatrix stored_;
  CodeLayout layout_;
  uint64_t rows_ = 0, columns_ = 0;
};

}  // namespace smelt
