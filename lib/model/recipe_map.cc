// Recipes that only gather whole rows, mapped in place.
#include "lib/base/status.h"
#include "lib/model/recipe.h"

namespace smelt {
namespace {

absl::Status NotMapped(const TensorInfo& info, std::string_view why) {
  return Error(ErrorCode::kUnsupported, "tensor ", info.name, " cannot be mapped: ", why);
}

/// First byte of a leaf in memory; its rows are contiguous.
absl::StatusOr<const std::byte*> LeafBase(const TensorInfo& info, const Leaf& leaf) {
  const auto* raw = std::get_if<RawLeaf>(&leaf);
  if (raw == nullptr)
    return reinterpret_cast<const std::byte*>(std::get<ConstantLeaf>(leaf).values.data());
  if (raw->tensor.computed != nullptr || !raw->tensor.contiguous() ||
      SameTensorType(raw->tensor.dtype) != info.type) {
    return NotMapped(info, "its source is not stored row by row in one type");
  }
  SMELT_ASSIGN_OR_RETURN(const std::span<const std::byte> bytes, raw->tensor.storage->Map());
  const std::byte* base = bytes.data() + raw->tensor.offset;
  if (reinterpret_cast<uintptr_t>(base) % (BitsOf(raw->tensor.dtype) / 8) != 0)
    return NotMapped(info, "it is not aligned");
  return base;
}

}  // namespace

absl::StatusOr<MappedRows> MapRecipeRows(const TensorInfo& info) {
  const Recipe& recipe = *info.recipe;
  if (!recipe.only_gathers() || recipe.across != 1 || recipe.columns)
    return NotMapped(info, "it is computed");
  std::vector<const std::byte*> bases;
  for (const Leaf& leaf : recipe.leaves) {
    SMELT_ASSIGN_OR_RETURN(const std::byte* base, LeafBase(info, leaf));
    bases.push_back(base);
  }
  const uint64_t size = Info(info.type).block_bytes;
  if (recipe.rows.empty() && bases.size() == 1)
    return MappedRows{bases[0], info.shape.columns() * size, {}};
  const uint64_t width = LeafColumns(recipe.leaves[0]);
  if (recipe.matrix_columns() != info.shape.columns())
    return NotMapped(info, "its rows are put together from parts");

  // Leaves of one tensor may have different numbers of rows: those of all, one after the other.
  std::vector<const std::byte*> rows;
  for (size_t i = 0; i < bases.size(); ++i) {
    for (uint64_t row = 0; row < LeafRows(recipe.leaves[i]); ++row)
      rows.push_back(bases[i] + row * width * size);
  }
  MappedRows mapped;
  mapped.pointers.reserve(info.shape.rows());
  for (uint64_t row = 0; row < info.shape.rows(); ++row)
    mapped.pointers.push_back(rows[recipe.SourceRow(row)]);
  return mapped;
}

}  // namespace smelt
