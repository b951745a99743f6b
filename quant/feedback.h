// Rounding with feedback: how rows become bytes where the second moment H of their inputs is known
// (input_factor.h). What is made small is (w - v) H (w - v)^T of each row, v being its values after
// all of the format's own rounding.
//
// Groups are decided in the factor's order. The targets of a group are its weights plus what the
// errors of all earlier groups ask of it. When a super-block is entered, each of its groups is
// fitted by itself and the super-scale is chosen from what they wish. Then, group by group, stored
// scales are tried; for each the codes are rounded one after the other, every error being carried
// on to the later columns of the group, and the cheapest is kept. Afterwards every group is decided
// again with all others settled (coordinate descent on the exact objective), which can only make
// it smaller.
//
// One row is in one SIMD lane and runs the same sequence of float operations everywhere.
#pragma once

#include <cstdint>

#include "quant/block_format.h"
#include "quant/input_factor.h"

namespace smelt {

/// Encodes `rows` rows of factor.columns() (a multiple of the block). `out` holds them as the
/// search encodes them: a row is replaced where its error becomes smaller, and kept where the
/// search made scales that are no numbers.
void EncodeWithFeedback(const BlockFormat& format, const InputFactor& factor, uint64_t rows,
                        const float* x, uint8_t* out);

}  // namespace smelt
