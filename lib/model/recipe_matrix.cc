#include "lib/model/recipe_matrix.h"

#include <utility>

#include "lib/base/status.h"

namespace smelt {

absl::StatusOr<RecipeMatrix> RecipeMatrix::Make(std::string name, uint64_t rows, uint64_t columns,
                                                Recipe recipe) {
  const auto state = std::make_shared<State>();
  state->recipe = std::move(recipe);
  state->info.name = std::move(name);
  state->info.shape.dims = 2;
  state->info.shape.ne = {columns, rows, 1, 1};
  state->info.recipe = &state->recipe;
  SMELT_RETURN_IF_ERROR(CheckRecipe(state->info));
  RecipeMatrix matrix;
  matrix.state_ = state;
  return matrix;
}

absl::StatusOr<RecipeMatrix> RecipeMatrix::Of(const RawTensor& tensor) {
  Recipe recipe;
  recipe.leaves.push_back(RawLeaf{tensor, tensor.shape.empty() ? 1 : tensor.shape.back(), false});
  const uint64_t rows = LeafRows(recipe.leaves[0]), columns = LeafColumns(recipe.leaves[0]);
  return Make(tensor.name, rows, columns, std::move(recipe));
}

absl::StatusOr<RecipeMatrix> RecipeMatrix::Turned(const RawTensor& matrix) {
  Recipe recipe;
  recipe.leaves.push_back(RawLeaf{matrix, matrix.shape[0], true});
  const uint64_t rows = LeafRows(recipe.leaves[0]), columns = LeafColumns(recipe.leaves[0]);
  return Make(matrix.name, rows, columns, std::move(recipe));
}

}  // namespace smelt
