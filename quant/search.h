// The search for scales, shared by every format with linear codes: which scale (and minimum) of a
// group and which integer sub-scales of a super-block make the smallest weighted squared error.
//
// Per group: eight scales around the one that maps the largest value to the end of the code range
// are tried; each gives codes, and codes give the best scale (and minimum) in closed form. The
// winner's codes are computed again from its own scale. Then the f16 super-scale is set, each
// group tries the integer sub-scale that rounding gives and its neighbours (with the best integer
// minimum for each), and the super-scale is fitted to the integers; both again while it helps. The
// codes are computed from what is stored.
//
// Two implementations make the same bytes: search_reference.cc, one value after the other, and
// search.cc, with one group in one SIMD lane. Every float operation stands in the same order in
// both.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "quant/block_format.h"

namespace smelt {

/// Scales that the search tries per group.
inline constexpr int kCandidates = 8;
/// They map the largest value to code_min or code_max plus these.
inline constexpr std::array<float, kCandidates> kCandidateOffsets = {-0.9f, -0.64f, -0.39f, -0.13f,
                                                                     0.13f, 0.39f,  0.64f,  0.9f};
/// Groups of values below this are zeros: the f16 scale could not hold theirs.
inline constexpr float kTiny = 1e-30f;
/// The smallest scale above zero that f16 holds.
inline constexpr float kLeastScale = 0x1p-24f;
/// Stands for "no bound" and "worse than anything" in units of a group's own range.
inline constexpr float kHuge = 1e30f;
/// The scale of groups whose range is larger than this, if not infinite: f16 makes infinity of it,
/// as it must, since no format holds more than 65504 x 128 x 32.
inline constexpr float kBeyondAll = 1e30f;
/// Codes that hardly differ leave scale and minimum undetermined: smallest determinant, relative.
inline constexpr float kSingular = 4e-6f;

/// What a super-block stores besides codes and integers, as bits and as the values that they decode
/// to.
struct SuperScale {
  uint16_t d = 0, m = 0;
  float scale = 0, minimum = 0;
  /// Factors from a group's wish to integers; 0 where the scale is.
  float inverse_scale = 0, inverse_minimum = 0;
};

/// Sums over a group with its final codes q: of w q q, w q, w x q, w x, w.
struct GroupSums {
  float qq, q, xq, x, w;
};

/// The f16 of a scale that codes up to `codes` and, in a super-block, integers up to `integers` are
/// multiplied with. Small halves lie 2^-24 apart, so that the nearest can be far below the wish, or
/// zero: where the largest value would then lie more than one code beyond the range, the next
/// larger half is taken.
uint16_t ScaleToF16(float wish, int codes, int integers);

/// Scale and minimum of a simple block as they are stored. A value beyond f16 becomes infinity,
/// which Validate reports.
SuperScale SimpleScale(const BlockFormat& format, float scale, float minimum);

/// The first super-scale: the largest of the groups' scales at the end of the integers' range.
/// Infinite like the above where f16 cannot hold it.
SuperScale FirstSuperScale(const BlockFormat& format, const float* scales, const float* minimums);

/// The super-scale that fits the integers and codes of the groups best; false where it is
/// undetermined.
bool FitSuperScale(const BlockFormat& format, const GroupSums* sums, const int8_t* scales,
                   const int8_t* minimums, SuperScale* out);

/// How far the search goes.
struct SearchDepth {
  int refinements = 1;  ///< times that a group's codes are computed again from its own best scale
  int rounds = 1;       ///< times at most that integers and super-scale are chosen
};

/// Encodes one block. `w` are the weights of its elements: zero or more, at least one above zero.
void EncodeBlockReference(const BlockFormat& format, const SearchDepth& depth, const float* x,
                          const float* w, BlockNumbers* numbers);

/// The same for `blocks` blocks whose values stand one after the other. `w` (nullptr: all 1) are
/// weights of a row of `columns`, which the blocks go through from its start again and again.
void EncodeBlocks(const BlockFormat& format, const SearchDepth& depth, const float* x,
                  const float* w, uint64_t columns, uint64_t blocks, uint8_t* out);

}  // namespace smelt
