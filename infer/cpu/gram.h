// Second moments of what goes into products.
#pragma once

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "infer/tap.h"

namespace smelt::cpu {

/// to.sums[i][j] += the sum over tokens of x[i] x[j], for j <= i. `x`: [panel][column][lane];
/// `tokens`: of every panel, how many of its lanes, the first ones, are tokens. Each tile of the
/// sums has one owner, who goes through the panels in their order.
absl::Status AddGram(const float* x, uint32_t lanes, std::span<const uint32_t> tokens,
                     InputGram& to);

}  // namespace smelt::cpu
