// The place in a published tensor that a message names, against the values that a recipe reads.
#include "lib/jobs/source_place.h"

#include "lib/base/cat.h"
#include "lib/model/recipe_source.h"
#include "tests/testing/testing.h"

namespace smelt {
namespace {

/// A matrix whose values count its elements.
RawTensor Counted(const std::string& name, uint64_t rows, uint64_t columns, float start) {
  std::vector<float> values(rows * columns);
  for (size_t i = 0; i < values.size(); ++i) values[i] = start + static_cast<float>(i);
  const auto bytes = std::as_bytes(std::span(values));
  return {.name = name,
          .dtype = RawType::kF32,
          .shape = {rows, columns},
          .strides = ContiguousStrides({rows, columns}),
          .storage = MemoryStorage(name, {bytes.begin(), bytes.end()}),
          .offset = 0};
}

// Every value says where it was stored.
void ExpectPlacesOfValues(Recipe recipe, uint64_t rows, uint64_t columns, uint64_t stored_columns) {
  RecipeTensor tensor;
  tensor.name = "t";
  tensor.shape.dims = 2;
  tensor.shape.ne = {columns, rows, 1, 1};
  tensor.recipe = std::move(recipe);
  std::vector<RecipeTensor> tensors;
  tensors.push_back(std::move(tensor));
  const auto source = MakeRecipeSource("m", Metadata(), std::move(tensors), {}, "");
  SMELT_ASSERT_OK(source);
  std::vector<float> values(rows * columns);
  SMELT_ASSERT_OK((*source)->ReadRows(0, 0, rows, values.data()));
  for (uint64_t row = 0; row < rows; ++row) {
    for (uint64_t column = 0; column < columns; ++column) {
      const uint64_t at = static_cast<uint64_t>(values[row * columns + column]);
      const bool second = at >= 1000;
      const uint64_t stored = second ? at - 1000 : at;
      EXPECT_EQ(SourcePlaceOf((*source)->tensors()[0], row, column),
                Cat("row ", stored / stored_columns, ", column ", stored % stored_columns, " of ",
                    second ? "b" : "a", ", counted from 0"));
    }
  }
}

TEST(SourcePlace, BehindRowMaps) {
  Recipe rotary;
  rotary.leaves = {RawLeaf{Counted("a", 12, 4, 0), 4}};
  rotary.rows = {SwapRows{3, 2, 2}};
  ExpectPlacesOfValues(rotary, 12, 4, 4);
  // Halves of stacked matrices, as fused experts have them.
  Recipe half;
  half.leaves = {RawLeaf{Counted("a", 6, 4, 0), 4}, RawLeaf{Counted("b", 6, 4, 1000), 4}};
  half.rows = {SwapRows{1, 2, 2, 3}, SliceRows{6, 1, 6}};
  ExpectPlacesOfValues(half, 6, 4, 4);
}

TEST(SourcePlace, OfATransposedMatrix) {
  Recipe recipe;
  recipe.leaves = {RawLeaf{Counted("a", 5, 7, 0), 5, true}};
  ExpectPlacesOfValues(recipe, 7, 5, 7);
}

}  // namespace
}  // namespace smelt
