// Second moments of inputs for tests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace smelt {

/// Sum of x x^T over tokens of inputs of very different size that share a few directions.
std::vector<float> CorrelatedGram(size_t columns, size_t tokens, uint32_t seed);

}  // namespace smelt
