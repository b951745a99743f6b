// How a GGUF tensor is made from published ones: data that `inspect --recipes` prints; nothing else
// moves weights about.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "formats/container.h"
#include "lib/model/model_source.h"

namespace smelt {

/// Row maps, applied in order to the rows of the leaves laid one after the other. Each says where
/// row i of its result comes from.
struct SliceRows {
  uint64_t first, step, count;
};  ///< row i <- first + i * step
/// Units of `unit` rows seen as (groups, outer, inner), the two inner axes swapped: unit (g, b, a)
/// <- (g, a, b); `rest` rows behind each group stay. Llama's rotary rows: groups = heads, outer =
/// 2, inner = rotary dimensions / 2.
struct SwapRows {
  uint64_t groups, outer, inner;
  uint64_t unit = 1;
  uint64_t rest = 0;
  uint64_t first = 0;  ///< rows before it stay where they are

  uint64_t rows() const { return first + groups * (outer * inner * unit + rest); }
  /// Where row `row` of the result comes from.
  uint64_t Source(uint64_t row) const;
};
using RowMap = std::variant<SliceRows, SwapRows>;

/// Element operations, in order, in f32 unless said otherwise.
struct AddConstant {
  double value;
};
struct NegativeExp {};  ///< -exp(x), computed in f64, rounded once
struct RowFactor {
  uint64_t rows;
  double factor;
};
/// Rows of the result by sections, from the first on; the last section has all rows that remain.
struct ScaleRows {
  std::vector<RowFactor> sections;
};
using ElementOp = std::variant<AddConstant, NegativeExp, ScaleRows>;

/// A raw tensor viewed as a matrix of `columns` columns; rows run over everything else. Transposed
/// leaves (GPT-2's Conv1D: two dimensions, columns = shape[0]) are read in blocks.
struct RawLeaf {
  RawTensor tensor;
  uint64_t columns = 0;
  bool transposed = false;
};
/// Values that no file holds (rope frequency factors): one row.
struct ConstantLeaf {
  std::vector<float> values;
};
using Leaf = std::variant<RawLeaf, ConstantLeaf>;

/// The leaves make a matrix: `across` of them side by side (their columns concatenated), and so on
/// downwards (stacked experts, split tensors joined along rows). Row maps move its rows, element
/// operations change values. The result's shape may have other columns than the matrix has: it is
/// then the same elements in the same order (a vector permuted as rows of one column, a vector
/// split in groups).
struct Recipe {
  std::vector<Leaf> leaves;
  uint64_t across = 1;
  std::vector<RowMap> rows;
  std::optional<SwapRows> columns = std::nullopt;  ///< of every row, moved as rows are
  std::vector<ElementOp> elements;
  /// Blocks are handed out as values: the result could not say what they are multiplied with.
  bool decoded = false;

  /// One line: "rows swapped (8, 2, 16) of model.layers.0.self_attn.q_proj.weight [BF16 256 x
  /// 256]".
  std::string ToText() const;
  /// Only whole stored rows move: stored bytes can pass through untouched, or in the block type
  /// that holds what they mean.
  bool only_gathers() const;
  /// Bits of the coarsest codes that leaves are read from; 0: there are none.
  uint32_t code_bits() const;
  /// The format of what is computed, "GPTQ, 4 bits, groups of 128"; empty: leaves are stored as
  /// they are.
  std::string computed_from() const;
  /// Its name alone, "GPTQ".
  std::string computed_as() const;
  /// What the block type's values are multiplied with, of each of `matrices` of `rows` rows.
  /// nullopt: not one factor for each.
  std::optional<std::vector<float>> BlockFactors(uint64_t matrices, uint64_t rows) const;
  uint64_t matrix_columns() const;
  /// The row of the leaves, laid one after the other, that becomes row `row` of the matrix.
  uint64_t SourceRow(uint64_t row) const;
};

/// Rows and columns of a leaf seen as a matrix.
uint64_t LeafRows(const Leaf& leaf);
uint64_t LeafColumns(const Leaf& leaf);

/// Checks that the recipe can make a tensor of `shape` (extents, leaf shapes, slices, element types
/// f64 f32 f16 bf16), and fills type and tile_rows of `info`, whose name, shape and recipe are set.
/// kUnsupported names a tensor whose element type holds no weights.
absl::Status CheckRecipe(TensorInfo& info);

// Evaluation; see ModelSource for the meaning of rows, errors and mapping. `info.recipe` is set and
// was checked.
absl::Status ReadRecipeRows(const TensorInfo& info, uint64_t first, uint64_t count, float* out);
absl::Status ReadRecipeRawRows(const TensorInfo& info, uint64_t first, uint64_t count,
                               std::byte* out);
absl::StatusOr<MappedRows> MapRecipeRows(const TensorInfo& info);

}  // namespace smelt
