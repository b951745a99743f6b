// Formats and rows that the tests of the encoders go through.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "quant/block_format.h"

namespace smelt {

std::vector<const BlockFormat*> AllFormats();
/// Those whose codes are linear.
std::vector<const BlockFormat*> LinearFormats();
/// Those with a codebook.
std::vector<const BlockFormat*> CodebookFormats();

/// Rows of `columns` values; without importance at fast effort, with it at normal.
std::vector<std::byte> Encode(TensorType type, const std::vector<float>& x, uint64_t columns,
                              const float* importance = nullptr);
std::vector<float> Decode(TensorType type, const std::vector<std::byte>& bytes, size_t count);

/// Values that strain the search: zeros, constants, one sign, huge and tiny magnitudes, ties.
std::vector<float> HardValues(size_t rows, size_t columns);

inline constexpr size_t kExtremeColumns = 256;
/// A row of each kind for every power of two that f32 has: noise, opposite extremes, one outlier,
/// one sign, constants, values far from zero but near each other, groups of very different size.
std::vector<float> ExtremeRows();

/// Weights of columns as importance gives them: from 1e-3 to some hundreds.
std::vector<float> ColumnWeights(size_t columns);

}  // namespace smelt
