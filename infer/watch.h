// What a tap is told of products that were computed elsewhere: their inputs, brought to the host's
// memory, count as the processor's own do (cpu/watch.h).
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>

#include "absl/status/status.h"
#include "infer/graph.h"
#include "infer/tap.h"

namespace smelt {

/// The rows, [token][column], go into products with matrix number `index` of each that is present.
absl::Status WatchRows(Tap& tap, std::span<const Matrix* const> matrices, uint64_t index,
                       std::span<const float> rows);

inline absl::Status WatchRows(Tap& tap, std::initializer_list<const Matrix*> matrices,
                              uint64_t index, std::span<const float> rows) {
  return WatchRows(tap, std::span(matrices.begin(), matrices.size()), index, rows);
}

/// The rows, [token][head][stride], go into a product with a matrix for each head.
absl::Status WatchRowsOfHeads(Tap& tap, const Matrix& matrix, uint32_t heads, uint32_t stride,
                              std::span<const float> rows);

/// What goes into the experts that were chosen, [token][used]: `in`, [token][width], and `hidden`,
/// [token][used][hidden].
absl::Status WatchExperts(Tap& tap, const ExpertsOp& op, std::span<const uint32_t> chosen,
                          std::span<const float> in, std::span<const float> hidden);

}  // namespace smelt
