#include "lib/model/recipe.h"

#include <algorithm>

#include "formats/computed_matrix.h"
#include "lib/base/checked.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

bool HoldsWeights(RawType type) {
  return type == RawType::kF64 || type == RawType::kF32 || type == RawType::kF16 ||
         type == RawType::kBF16;
}

/// Rows of the matrix of all leaves, before row maps.
uint64_t StackedRows(const Recipe& recipe) {
  uint64_t rows = 0;
  for (size_t i = 0; i < recipe.leaves.size(); i += recipe.across)
    rows += LeafRows(recipe.leaves[i]);
  return rows;
}

std::string LeafText(const Leaf& leaf) {
  if (const auto* constant = std::get_if<ConstantLeaf>(&leaf))
    return Cat("constants [", constant->values.size(), "]");
  const RawLeaf& raw = std::get<RawLeaf>(leaf);
  const std::string_view type =
      raw.tensor.computed != nullptr ? raw.tensor.computed->format() : Name(raw.tensor.dtype);
  return Cat(raw.transposed ? "transposed " : "", raw.tensor.name, " [", type, " ",
             ShapeText(raw.tensor.shape), "]");
}

/// "0.7 times", "0.7, 0.5 (rows by section) times".
std::string ScaleText(const ScaleRows& scale) {
  std::string text;
  for (const RowFactor& section : scale.sections)
    text += Cat(text.empty() ? "" : ", ", section.factor);
  return Cat(text, scale.sections.size() > 1 ? " (rows by section) times" : " times");
}

std::string SwapText(std::string_view what, const SwapRows& swap) {
  return Cat(what, swap.first == 0 ? "" : Cat(" from ", swap.first, " on"), " swapped (",
             swap.groups, ", ", swap.outer, ", ", swap.inner,
             swap.unit == 1 ? "" : Cat(", ", swap.unit, " ", what, " each"),
             swap.rest == 0 ? "" : Cat(", then ", swap.rest, " as they are"), ") of ");
}

absl::Status CheckLeaf(const TensorInfo& info, const Leaf& leaf) {
  const auto* raw = std::get_if<RawLeaf>(&leaf);
  if (raw == nullptr) return absl::OkStatus();
  const RawTensor& tensor = raw->tensor;
  if (!HoldsWeights(tensor.dtype)) {
    return Error(ErrorCode::kUnsupported, "tensor ", Escape(tensor.name), " (", info.name,
                 ") has elements of type ", Name(tensor.dtype),
                 ", which are no weights without their scales: expected F32, F16, BF16 or F64");
  }
  const uint64_t n = tensor.elements();
  if (raw->columns == 0 || n == 0 || n % raw->columns != 0) {
    return Error(ErrorCode::kInvalidInput, "tensor ", Escape(tensor.name), " (", info.name,
                 ") of shape ", ShapeText(tensor.shape), " cannot be read as rows of ",
                 raw->columns);
  }
  if (raw->transposed && (tensor.shape.size() != 2 || raw->columns != tensor.shape[0])) {
    return Error(ErrorCode::kInternal, "transposed leaf ", Escape(tensor.name), " is no matrix");
  }
  return absl::OkStatus();
}

/// The type in which a leaf's values can be handed out; nullopt: only as computed f32.
std::optional<TensorType> StoredType(const Leaf& leaf) {
  const auto* raw = std::get_if<RawLeaf>(&leaf);
  if (raw == nullptr) return TensorType::kF32;
  if (raw->tensor.computed != nullptr)
    return raw->transposed ? std::nullopt : raw->tensor.computed->block_type();
  if (raw->tensor.dtype == RawType::kF64) return std::nullopt;
  return SameTensorType(raw->tensor.dtype);
}

/// That of the tensor, when every leaf has the same one.
TensorType StoredType(const Recipe& recipe) {
  if (!recipe.only_gathers()) return TensorType::kF32;
  const TensorType type = StoredType(recipe.leaves[0]).value_or(TensorType::kF32);
  const bool same = std::ranges::all_of(recipe.leaves,
                                        [&](const Leaf& leaf) { return StoredType(leaf) == type; });
  return same ? type : TensorType::kF32;
}

/// Whether columns move in whole blocks of so many.
bool MovesBlocks(const SwapRows& columns, uint64_t block) {
  return columns.first % block == 0 && columns.unit % block == 0 && columns.rest % block == 0;
}

}  // namespace

uint64_t LeafRows(const Leaf& leaf) {
  const auto* raw = std::get_if<RawLeaf>(&leaf);
  if (raw == nullptr) return 1;
  return raw->columns == 0 ? 0 : raw->tensor.elements() / raw->columns;
}

uint64_t LeafColumns(const Leaf& leaf) {
  const auto* raw = std::get_if<RawLeaf>(&leaf);
  return raw == nullptr ? std::get<ConstantLeaf>(leaf).values.size() : raw->columns;
}

uint64_t Recipe::matrix_columns() const {
  uint64_t columns = 0;
  for (size_t i = 0; i < across && i < leaves.size(); ++i) columns += LeafColumns(leaves[i]);
  return columns;
}

uint64_t SwapRows::Source(uint64_t row) const {
  if (row < first) return row;
  const uint64_t moved = outer * inner * unit, at = (row - first) % (moved + rest);
  if (at >= moved) return row;
  const uint64_t a = at / unit % outer, b = at / unit / outer;  // (b, a) of the result
  return row - at + (a * inner + b) * unit + at % unit;
}

uint64_t Recipe::SourceRow(uint64_t row) const {
  for (auto map = rows.rbegin(); map != rows.rend(); ++map) {
    if (const auto* slice = std::get_if<SliceRows>(&*map)) {
      row = slice->first + row * slice->step;
    } else {
      row = std::get<SwapRows>(*map).Source(row);
    }
  }
  return row;
}

bool Recipe::only_gathers() const {
  if (!elements.empty()) return false;
  const bool coded = code_bits() != 0;
  if (coded && (across != 1 || decoded)) return false;
  std::optional<TensorType> type;
  for (const Leaf& leaf : leaves) {
    const auto* raw = std::get_if<RawLeaf>(&leaf);
    if (raw == nullptr && !coded) continue;
    const std::optional<TensorType> of_leaf = StoredType(leaf);
    if (!of_leaf || (raw != nullptr && raw->transposed) || (type && type != of_leaf)) return false;
    type = of_leaf;
  }
  return !coded || !columns || !type || MovesBlocks(*columns, Info(*type).block_elements);
}

std::optional<std::vector<float>> Recipe::BlockFactors(uint64_t matrices, uint64_t rows) const {
  std::vector<float> of_leaves;
  std::vector<uint64_t> ends;
  for (const Leaf& leaf : leaves) {
    const auto* raw = std::get_if<RawLeaf>(&leaf);
    const bool computed = raw != nullptr && raw->tensor.computed != nullptr;
    of_leaves.push_back(computed ? raw->tensor.computed->block_factor() : 1);
    ends.push_back((ends.empty() ? 0 : ends.back()) + LeafRows(leaf));
  }
  const auto other = [&](float factor) { return factor != of_leaves[0]; };
  if (std::ranges::none_of(of_leaves, other)) return std::vector<float>(matrices, of_leaves[0]);
  std::vector<float> factors;
  for (uint64_t row = 0; row < matrices * rows; ++row) {
    const auto leaf = std::ranges::upper_bound(ends, SourceRow(row)) - ends.begin();
    const float factor = of_leaves[static_cast<size_t>(leaf)];
    if (row % rows == 0) factors.push_back(factor);
    if (factor != factors.back()) return std::nullopt;
  }
  return factors;
}

uint32_t Recipe::code_bits() const {
  uint32_t bits = 0;
  for (const Leaf& leaf : leaves) {
    const auto* raw = std::get_if<RawLeaf>(&leaf);
    if (raw == nullptr || raw->tensor.computed == nullptr) continue;
    const uint32_t own = raw->tensor.computed->bits();
    bits = bits == 0 ? own : std::min(bits, own);
  }
  return bits;
}

std::string Recipe::computed_as() const {
  const std::string format = computed_from();
  return format.substr(0, format.find(','));
}

std::string Recipe::computed_from() const {
  for (const Leaf& leaf : leaves) {
    const auto* raw = std::get_if<RawLeaf>(&leaf);
    if (raw == nullptr || raw->tensor.computed == nullptr) continue;
    return raw->tensor.computed->format();
  }
  return "";
}

std::string Recipe::ToText() const {
  std::string text;
  for (const ElementOp& op : elements) {
    if (const auto* add = std::get_if<AddConstant>(&op))
      text = Cat("add ", add->value, " to ", text);
    if (std::get_if<NegativeExp>(&op)) text = Cat("-exp of ", text);
    if (const auto* scale = std::get_if<ScaleRows>(&op)) text = Cat(ScaleText(*scale), " ", text);
  }
  for (auto map = rows.rbegin(); map != rows.rend(); ++map) {
    if (const auto* slice = std::get_if<SliceRows>(&*map)) {
      text += Cat("rows ", slice->first, "..", slice->first + (slice->count - 1) * slice->step);
      if (slice->step != 1) text += Cat(" step ", slice->step);
      text += " of ";
    } else {
      text += SwapText("rows", std::get<SwapRows>(*map));
    }
  }
  if (columns) text += SwapText("columns", *columns);
  if (leaves.size() > 1) {
    text += across == leaves.size()
                ? "side by side: "
                : Cat(leaves.size(), across > 1 ? " joined in a grid: " : " stacked: ");
  }
  for (size_t i = 0; i < leaves.size(); ++i) {
    if (leaves.size() > 3 && i == 1) {
      text += ", ...";
      i = leaves.size() - 1;
    }
    text += Cat(i == 0 ? "" : ", ", LeafText(leaves[i]));
  }
  return text;
}

absl::Status CheckRecipe(TensorInfo& info) {
  const Recipe& recipe = *info.recipe;
  const auto bad = [&info](std::string_view what) {
    return Error(ErrorCode::kInvalidInput, "tensor ", info.name, ": ", what,
                 " (recipe: ", Escape(info.recipe->ToText(), 160), ")");
  };
  if (recipe.leaves.empty() || recipe.across == 0 || recipe.leaves.size() % recipe.across != 0)
    return bad("has no source");
  for (const Leaf& leaf : recipe.leaves) SMELT_RETURN_IF_ERROR(CheckLeaf(info, leaf));
  for (size_t i = 0; i < recipe.leaves.size(); ++i) {
    if (LeafRows(recipe.leaves[i]) != LeafRows(recipe.leaves[i - i % recipe.across]) ||
        LeafColumns(recipe.leaves[i]) != LeafColumns(recipe.leaves[i % recipe.across])) {
      return bad("its sources have different shapes");
    }
  }
  uint64_t rows = StackedRows(recipe);
  for (const RowMap& map : recipe.rows) {
    if (const auto* slice = std::get_if<SliceRows>(&map)) {
      const auto last =
          slice->count == 0 ? std::nullopt : CheckedMul(slice->count - 1, slice->step);
      const auto end = last ? CheckedAdd(*last, slice->first) : std::nullopt;
      if (!end || *end >= rows) return bad("a slice leaves its source");
      rows = slice->count;
    } else {
      const SwapRows& swap = std::get<SwapRows>(map);
      const auto inner = CheckedMul(swap.outer, swap.inner);
      const auto units = inner ? CheckedMul(*inner, swap.groups) : std::nullopt;
      const auto moved = units ? CheckedMul(*units, swap.unit) : std::nullopt;
      const auto kept = CheckedMul(swap.rest, swap.groups);
      const auto grouped = moved && kept ? CheckedAdd(*moved, *kept) : std::nullopt;
      const auto all = grouped ? CheckedAdd(*grouped, swap.first) : std::nullopt;
      if (!all || *all != rows) return bad("its rows cannot be grouped as asked");
    }
  }
  const uint64_t a = info.shape.columns(), b = recipe.matrix_columns();
  if (recipe.columns && recipe.columns->rows() != b)
    return bad("its columns cannot be grouped as asked");
  const auto elements = CheckedMul(rows, b);
  if (!elements || *elements != info.shape.elements() || a == 0 || b == 0 ||
      (a % b != 0 && b % a != 0)) {
    return bad(
        Cat("source of ", rows, " rows of ", b, " does not make the shape ", info.shape.ToText()));
  }
  info.type = StoredType(recipe);
  if (Info(info.type).quantized && a != b) return bad("its blocks would be cut");
  info.tile_rows = 1;
  for (const Leaf& leaf : recipe.leaves) {
    const auto* raw = std::get_if<RawLeaf>(&leaf);
    if (raw == nullptr) continue;
    if (raw->transposed) info.tile_rows = std::min<uint64_t>(info.shape.rows(), 2048);
    if (raw->tensor.computed != nullptr)
      info.tile_rows = std::max(info.tile_rows, raw->tensor.computed->tile_rows());
  }
  if (info.shape.dims == 3 && info.tile_rows == 1) info.tile_rows = info.shape.ne[1];
  return absl::OkStatus();
}

}  // namespace smelt
