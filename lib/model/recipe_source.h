// A model made of published tensors and recipes.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lib/model/model_source.h"
#include "lib/model/recipe.h"

namespace smelt {

/// A tensor to be made; type and tile height follow from the recipe.
struct RecipeTensor {
  std::string name;
  Shape shape;
  Recipe recipe;
};

/// `files` are kept open and identify the source, `texts` (config.json, ...) are hashed into its
/// identity. Fails where a recipe cannot make its tensor (see CheckRecipe).
absl::StatusOr<std::unique_ptr<ModelSource>> MakeRecipeSource(
    std::string name, Metadata metadata, std::vector<RecipeTensor> tensors,
    std::vector<std::shared_ptr<const Storage>> files, std::string texts);

}  // namespace smelt
