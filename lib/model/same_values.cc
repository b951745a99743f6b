#include "lib/model/same_values.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "lib/base/float16.h"
#include "lib/base/status.h"
#include "lib/model/recipe.h"

namespace smelt {
namespace {

constexpr uint64_t kPiece = 1 << 18;  // values compared at once

absl::StatusOr<TensorInfo> AsMatrix(const RawTensor& tensor, Recipe& recipe) {
  const uint64_t columns = tensor.shape.empty() ? 1 : tensor.shape.back();
  recipe.leaves.push_back(RawLeaf{tensor, columns, false});
  TensorInfo info;
  info.name = tensor.name;
  info.shape.dims = 2;
  info.shape.ne = {columns, LeafRows(recipe.leaves[0]), 1, 1};
  info.recipe = &recipe;
  SMELT_RETURN_IF_ERROR(CheckRecipe(info));
  return info;
}

float Rounded(float value, RawType type) {
  if (type == RawType::kF16) return F16ToF32(F32ToF16(value));
  if (type == RawType::kBF16) return Bf16ToF32(F32ToBf16(value));
  return value;
}

bool Same(const std::vector<float>& exact, const std::vector<float>& coarse, RawType type) {
  for (size_t i = 0; i < exact.size(); ++i) {
    if (Rounded(exact[i], type) != coarse[i]) return false;
  }
  return true;
}

}  // namespace

absl::StatusOr<bool> SameValues(const RawTensor& a, const RawTensor& b) {
  if (a.shape != b.shape) return false;
  if (a.elements() == 0) return true;
  if (a.computed == b.computed && a.dtype == b.dtype && a.storage == b.storage &&
      a.offset == b.offset && a.strides == b.strides)
    return true;
  Recipe of_a, of_b;
  SMELT_ASSIGN_OR_RETURN(const TensorInfo left, AsMatrix(a, of_a));
  SMELT_ASSIGN_OR_RETURN(const TensorInfo right, AsMatrix(b, of_b));
  const uint64_t rows = left.shape.rows(), columns = left.shape.columns();
  const uint64_t step = std::max<uint64_t>(1, kPiece / columns);
  bool a_finer = true, b_finer = true;  // still possible
  for (uint64_t row = 0; row < rows && (a_finer || b_finer); row += step) {
    const uint64_t count = std::min(step, rows - row);
    std::vector<float> x(count * columns), y(count * columns);
    SMELT_RETURN_IF_ERROR(ReadRecipeRows(left, row, count, x.data()));
    SMELT_RETURN_IF_ERROR(ReadRecipeRows(right, row, count, y.data()));
    a_finer = a_finer && Same(x, y, b.dtype);
    b_finer = b_finer && Same(y, x, a.dtype);
  }
  return a_finer || b_finer;
}

}  // namespace smelt
