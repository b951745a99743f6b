// A block format as readers see it: decoding, dot products, validation. Stateless; one object per
// type for the life of the program. How a format is written: encoder.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "lib/base/tensor_type.h"

namespace smelt {

/// Weights of a row as small integers, the common form that integer dot products take:
/// value[i] = scale[g] * code[i] - minimum[g], g = i / group. `minimum` is used only where the
/// codec says so.
struct Unpacked8 {
  int8_t* codes;    ///< [columns]
  float* scales;    ///< [columns / group]
  float* minimums;  ///< [columns / group]; may be null where there are none
};

/// A row of activations rounded to 8 bits in groups of 32: x[i] ~ scales[i / 32] * codes[i].
struct Activations8 {
  const int8_t* codes;     ///< [columns], -127 .. 127
  const float* scales;     ///< [columns / 32]
  const float* sums;       ///< [columns / 16]: scale times the sum of 16 codes
  const float* pair_sums;  ///< [columns / 32]: the same of 32
};

/// Fills the arrays of an Activations8 from `columns` (a multiple of 32) values: scale = max abs /
/// 127, codes rounded half to even. A group with a NaN or an infinity has the scale NaN and codes
/// 0: every product with it is NaN. Pad shorter rows with zeros.
void QuantizeActivations8(const float* x, uint64_t columns, int8_t* codes, float* scales,
                          float* sums, float* pair_sums);

/// Smallest and largest of a format's codes.
struct CodeRange {
  int8_t low = -128, high = 127;
};

class Codec {
 public:
  virtual ~Codec() = default;
  virtual TensorType type() const = 0;

  /// `count` elements (a multiple of the block). Bit exact: every product is exact in f32.
  virtual void Decode(const std::byte* in, uint64_t count, float* out) const = 0;

  /// False where a stored field makes values that are no numbers (an f16 scale of infinity or NaN,
  /// exponent 255; an infinity or NaN itself for F32, F16, BF16): sets `block` to the first such
  /// block.
  virtual bool Validate(const std::byte* in, uint64_t count, uint64_t* block) const = 0;

  /// Sum of w[i] x[i] in f32, for generation with f32 activations.
  virtual float Dot(const std::byte* row, const float* x, uint64_t count) const = 0;

  /// Dot products of `rows` consecutive rows of `columns` with 8-bit activations, integer inside a
  /// group: out[r] = sum over i of w[r][i] * x[i]. For generation; needs unpack_group() != 0.
  virtual void DotQ8(const std::byte* weights, uint64_t rows, uint64_t columns,
                     const Activations8& x, float* out) const = 0;

  /// Group size of Unpack8 (16 or 32), 0 where there is no integer form (F32, F16, BF16).
  virtual uint32_t unpack_group() const = 0;
  virtual bool unpack_has_minimum() const = 0;
  /// No code of Unpack8 lies outside, whatever the bytes are.
  virtual CodeRange unpack_range() const = 0;
  virtual void Unpack8(const std::byte* in, uint64_t count, Unpacked8 out) const = 0;
};

/// Exists for F32, F16, BF16 and every block format that we can read; nullptr otherwise.
const Codec* FindCodec(TensorType type);

}  // namespace smelt
