// Checkpoints of mlx-lm, whose classes change some weights while they convert: what a class
// determines is undone, so that the tables of families read them.
#pragma once

#include "absl/status/status.h"
#include "formats/container.h"
#include "lib/model/family.h"

namespace smelt {

/// Judged by names and shapes alone, after quantized weights were joined:
///   PREFIX.switch_mlp.P.weight [experts, ...]    as the family calls experts that lie one by one;
///   (also switch_glu, experts.P)                 P as it calls projections
///   convolutions [channels, taps, 1]             [channels, 1, taps]; norms that the family adds
///                                                one to, beside these: mlx-lm has added it
///   model.h.N. of GPT-NeoX                       layers.N.
///   GPT-2's matrices [outputs, inputs]           PREFIX.linear.weight, so that its rules can have
///                                                both; the same of their biases
///   no e_score_correction_bias of ERNIE 4.5      zeros, as mlx-lm computes, and a note
/// What only one family has otherwise stands in its table (`OrMlx`).
/// Names that the family does not want stay, and are refused as unknown. kUnsupported where factors
/// of the configuration were multiplied into weights.
absl::Status UndoMlxLayout(const Family& family, Container& container);

}  // namespace smelt
