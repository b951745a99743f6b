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
  if (!raw->tensor.contiguous() || SameTensorType(raw->tensor.dtype) != info.type) {
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
  if (!recipe.only_gathers() || recipe.across != 1) return NotMapped(info, "it is computed");
  std::vector<const std::byte*> bases;
  for (const Leaf& leaf : recipe.leaves) {
    SMELT_ASSIGN_OR_RETURN(const std::byte* base, LeafBase(info, leaf));
    bases.push_back(base);
  }
  const uint64_t size = Info(info.type).block_bytes;
  const bool whole = recipe.rows.empty() && recipe.columns == 0 && recipe.first_column == 0;
  if (whole && bases.size() == 1) return MappedRows{bases[0], info.shape.columns() * size, {}};
  const uint64_t width = LeafColumns(recipe.leaves[0]);
  if (recipe.matrix_columns() != info.shape.columns())
    return NotMapped(info, "its rows are put together from parts");

  MappedRows mapped;
  mapped.pointers.reserve(info.shape.rows());
  for (size_t i = 0; i < bases.size(); ++i) {
    for (uint64_t row = 0; row < LeafRows(recipe.leaves[i]); ++row) {
      mapped.pointers.push_back(bases[i] + (row * width + recipe.first_column) * size);
    }
  }
  for (const RowMap& map : recipe.rows) {
    std::vector<const std::byte*> next;
    if (const auto* slice = std::get_if<SliceRows>(&map)) {
      next.reserve(slice->count);
      for (uint64_t i = 0; i < slice->count; ++i)
        next.push_back(mapped.pointers[slice->first + i * slice->step]);
    } else {
      const SwapRows& swap = std::get<SwapRows>(map);
      next.reserve(mapped.pointers.size());
      for (uint64_t g = 0; g < swap.groups; ++g) {
        for (uint64_t b = 0; b < swap.inner; ++b) {
          for (uint64_t a = 0; a < swap.outer; ++a) {
            const uint64_t from = ((g * swap.outer + a) * swap.inner + b) * swap.unit;
            next.insert(next.end(), mapped.pointers.begin() + from,
                        mapped.pointers.begin() + from + swap.unit);
          }
        }
      }
    }
    mapped.pointers = std::move(next);
  }
  return mapped;
}

}  // namespace smelt
