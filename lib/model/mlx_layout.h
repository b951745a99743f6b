// Checkpoints of mlx-lm, whose classes change some weights while they convert: what a class
// determines is undone, so that the tables of families read them.
#pragma once

#include "absl/status/status.h"
#include "formats/container.h"
#include "lib/model/family.h"

namespace smelt {

/// Judged by names and shapes alone, after quantized weights were joined:
///   PREFIX.switch_mlp.P.weight [experts, ...]  ->  PREFIX.experts.N.P.weight, as the family calls
///   P convolutions [channels, taps, 1]           ->  [channels, 1, taps] norms that the family
///   adds one to, beside such convolutions: mlx-lm has added it
/// Names that the family does not want stay, and are refused as unknown. kUnsupported where factors
/// of the configuration were multiplied into weights.
absl::Status UndoMlxLayout(const Family& family, Container& container);

}  // namespace smelt
