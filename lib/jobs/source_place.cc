#include "lib/jobs/source_place.h"

#include <variant>

#include "lib/base/cat.h"
#include "lib/model/recipe.h"

namespace smelt {
namespace {

uint64_t RowBefore(const RowMap& map, uint64_t row) {
  if (const auto* slice = std::get_if<SliceRows>(&map)) return slice->first + row * slice->step;
  const SwapRows& swap = std::get<SwapRows>(map);
  const uint64_t a = row % swap.outer, b = row / swap.outer % swap.inner,
                 group = row / swap.outer / swap.inner;
  return (group * swap.outer + a) * swap.inner + b;
}

// The row as the matrix of leaves has it, before any row map.
uint64_t RowOfLeaves(const Recipe& recipe, uint64_t row) {
  for (auto map = recipe.rows.rbegin(); map != recipe.rows.rend(); ++map)
    row = RowBefore(*map, row);
  return row;
}

}  // namespace

std::string SourcePlaceOf(const TensorInfo& tensor, uint64_t row, uint64_t column) {
  const Recipe* recipe = tensor.recipe;
  if (recipe != nullptr && recipe->across == 1 &&
      recipe->matrix_columns() == tensor.shape.columns()) {
    uint64_t at = RowOfLeaves(*recipe, row);
    for (const Leaf& leaf : recipe->leaves) {
      const auto* raw = std::get_if<RawLeaf>(&leaf);
      if (at < LeafRows(leaf)) {
        if (raw == nullptr) break;
        uint64_t source_column = recipe->first_column + column;
        if (raw->transposed) std::swap(at, source_column);
        return Cat("row ", at, ", column ", source_column, " of ", Escape(raw->tensor.name),
                   ", counted from 0");
      }
      at -= LeafRows(leaf);
    }
  }
  return Cat("row ", row, ", column ", column, ", counted from 0");
}

}  // namespace smelt
