// A matrix that a recipe makes, as a value.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "lib/model/recipe.h"

namespace smelt {

/// A recipe together with what it makes. Copies share it. Thread-safe.
class RecipeMatrix {
 public:
  /// Of rows x columns; errors as CheckRecipe's. `name` is what messages call it.
  static absl::StatusOr<RecipeMatrix> Make(std::string name, uint64_t rows, uint64_t columns,
                                           Recipe recipe);
  /// A stored or computed tensor as it lies, rows over all dimensions but the last.
  static absl::StatusOr<RecipeMatrix> Of(const RawTensor& tensor);
  /// A stored matrix with rows and columns exchanged.
  static absl::StatusOr<RecipeMatrix> Turned(const RawTensor& matrix);

  const std::string& name() const { return state_->info.name; }
  uint64_t rows() const { return state_->info.shape.ne[1]; }
  uint64_t columns() const { return state_->info.shape.ne[0]; }
  uint64_t tile_rows() const { return state_->info.tile_rows; }
  const Recipe& recipe() const { return state_->recipe; }

  /// Rows [first, +count) as f32; an error names the first value that is not finite.
  absl::Status ReadRows(uint64_t first, uint64_t count, float* out) const {
    return ReadRecipeRows(state_->info, first, count, out);
  }

 private:
  struct State {
    Recipe recipe;
    TensorInfo info;  // points to the recipe
  };
  std::shared_ptr<const State> state_;
};

}  // namespace smelt
