// What a tap is told of the inputs of products.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "infer/cpu/layout.h"
#include "infer/cpu/matmul.h"
#include "infer/graph.h"
#include "infer/tap.h"

namespace smelt::cpu {

/// Of every panel, how many of its lanes, the first ones, are tokens.
std::vector<uint32_t> TokensOfPanels(const Layout& layout);
std::vector<uint32_t> TokensOfPanels(uint32_t tokens, uint32_t lanes);

/// Adds the inputs of a product with matrix number `index` of those that `matrix` stacks to what
/// the tap keeps of it. Of a fused tensor, whose rows several products read, the product with the
/// first row counts: all have the same inputs.
absl::Status Watch(Tap& tap, const Matrix& matrix, uint64_t index, std::span<const uint32_t> tokens,
                   Input& in);

/// The same for a product with a matrix for each head, whose inputs are the first features of each
/// `stride`. All heads see every token: to the tap they are one matrix with the columns of all.
absl::Status WatchHeads(Tap& tap, const Matrix& matrix, uint32_t heads, uint32_t stride,
                        const Layout& layout, const float* x);

/// squares[c] = the sum over tokens of x[panel][c][lane]^2. Each column has one owner, who goes
/// through the panels in their order.
absl::Status SumSquares(const float* x, uint64_t columns, uint32_t lanes,
                        std::span<const uint32_t> tokens, std::vector<double>& squares);

}  // namespace smelt::cpu
