// The search for formats with a codebook: which scale of each group, and which entries and signs,
// make the smallest weighted squared error after all of the format's own rounding.
//
// Per group some scales are tried; each gives codes (the nearest entries under the weights, found
// among all), and codes give the best scale in closed form. Then the stored scales: the half of a
// super-block by what the groups wish, each group's integer (or byte) as rounding gives it or a
// neighbour that does better, the half once more by the codes chosen.
//
// One group is in one SIMD lane and every lane runs the same sequence of float operations, so that
// the bytes are the same on every instruction set.
#pragma once

#include <cstdint>

#include "quant/block_format.h"

namespace smelt {

/// Encodes `blocks` blocks whose values stand one after the other; needs format.codebook. `w`
/// (nullptr: all 1) are weights of a row of `columns`, which the blocks go through from its start
/// again and again.
void EncodeCodebookBlocks(const BlockFormat& format, const float* x, const float* w,
                          uint64_t columns, uint64_t blocks, uint8_t* out);

}  // namespace smelt
