#include "lib/jobs/source_place.h"

#include <variant>

#include "lib/base/cat.h"
#include "lib/model/recipe.h"

namespace smelt {

std::string SourcePlaceOf(const TensorInfo& tensor, uint64_t row, uint64_t column) {
  const Recipe* recipe = tensor.recipe;
  if (recipe != nullptr && recipe->across == 1 &&
      recipe->matrix_columns() == tensor.shape.columns()) {
    uint64_t at = recipe->SourceRow(row);
    for (const Leaf& leaf : recipe->leaves) {
      const auto* raw = std::get_if<RawLeaf>(&leaf);
      if (at < LeafRows(leaf)) {
        if (raw == nullptr) break;
        uint64_t source_column = column;
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
