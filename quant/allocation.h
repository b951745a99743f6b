// Which of several sizes each of many things gets, so that all fit and the loss is small.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace smelt {

/// A way to store a thing, and the loss that it means.
struct AllocationChoice {
  uint64_t bytes = 0;
  double loss = 0;  ///< finite
};

/// For each item the number of one of its choices (it has one at least), so that their bytes sum to
/// at most `budget` and their losses to little: what a Lagrangian gives, which differs from the
/// least by at most one step of one item, and what still fits besides. nullopt: the smallest
/// choices are too large together. The same for the same input.
std::optional<std::vector<size_t>> Allocate(std::span<const std::vector<AllocationChoice>> items,
                                            uint64_t budget);

}  // namespace smelt
