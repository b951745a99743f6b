// Second moments of inputs for tests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "quant/input_factor.h"

namespace smelt {

/// Sum of x x^T over tokens of inputs of very different size that share a few directions.
std::vector<float> CorrelatedGram(size_t columns, size_t tokens, uint32_t seed);

/// Of a sound one; a failed expectation else.
InputFactor FactorOf(uint64_t columns, const std::vector<float>& gram, uint64_t tokens);

}  // namespace smelt
