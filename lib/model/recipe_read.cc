// Evaluation of recipes: which stored lines a tile needs, read in few large pieces, decoded and put
// in place.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <optional>
#include <span>

#include "formats/computed_matrix.h"
#include "lib/base/float16.h"
#include "lib/base/per_thread.h"
#include "lib/base/status.h"
#include "lib/model/recipe.h"
#include "lib/model/stored_values.h"

namespace smelt {
namespace {

constexpr uint64_t kReadBytes = 4 << 20;  // one read at most, unless a single line is longer
constexpr uint64_t kGapBytes = 16 << 10;  // a smaller hole between two lines is read along

/// Element (row, column) of a leaf lies at offset + (row * row_step + column * column_step)
/// elements.
struct LeafView {
  const RawTensor* tensor;
  uint64_t rows, columns;
  uint64_t row_step, column_step;
  bool transposed;
  uint64_t element_bytes;
};

/// Outer dimensions folded to one step where the strides allow it.
std::optional<uint64_t> FoldedStep(const RawTensor& tensor, size_t dims) {
  for (size_t i = 0; i + 1 < dims; ++i) {
    if (tensor.shape[i] != 1 &&
        tensor.strides[i] != tensor.strides[i + 1] * static_cast<int64_t>(tensor.shape[i + 1])) {
      return std::nullopt;
    }
  }
  return static_cast<uint64_t>(tensor.strides[dims - 1]);
}

absl::StatusOr<LeafView> View(const RawLeaf& leaf) {
  const RawTensor& tensor = leaf.tensor;
  LeafView view{&tensor,         tensor.elements() / leaf.columns, leaf.columns, leaf.columns, 1,
                leaf.transposed, BitsOf(tensor.dtype) / 8};
  if (leaf.transposed) view.row_step = tensor.shape[1];  // of the stored matrix; swapped below
  if (!tensor.contiguous()) {
    const size_t dims = tensor.shape.size();
    const bool whole_last =
        dims >= 2 && (leaf.transposed || leaf.columns == tensor.shape[dims - 1]);
    const std::optional<uint64_t> step = whole_last ? FoldedStep(tensor, dims - 1) : std::nullopt;
    if (step) {
      view.row_step = *step;
      view.column_step = static_cast<uint64_t>(tensor.strides[dims - 1]);
    } else if (const auto flat = FoldedStep(tensor, dims)) {  // evenly spaced elements
      view.row_step = leaf.columns * *flat;
      view.column_step = *flat;
    } else {
      return Error(ErrorCode::kUnsupported, "tensor ", Escape(tensor.name),
                   " has strides that we cannot read as a matrix");
    }
  }
  if (leaf.transposed) std::swap(view.row_step, view.column_step);
  return view;
}

/// "row 17, column 6" in the source tensor's own shape.
std::string SourcePlace(const LeafView& view, uint64_t row, uint64_t column) {
  const uint64_t index =
      view.transposed ? column * view.tensor->shape[1] + row : row * view.columns + column;
  if (view.tensor->shape.size() < 2) return Cat("element ", index);
  const uint64_t width = view.tensor->shape.back();
  return Cat("row ", index / width, ", column ", index % width);
}

/// A stored line to read: a matrix row, or a matrix column of a transposed leaf.
struct Line {
  uint64_t index;     ///< of the line in the leaf
  uint64_t position;  ///< where its bytes begin in the storage
  uint64_t target;    ///< row of the tile that it fills (row lines)
};

/// Reads lines of `bytes` each, sorted by position, in few pieces: fn(first, end, pointers to base,
/// its position).
template <typename Fn>
absl::Status ReadLines(const Storage& storage, const std::vector<Line>& lines, uint64_t bytes,
                       const Fn& fn) {
  static const PerThread<ByteBuffer> buffer;
  for (size_t begin = 0; begin < lines.size();) {
    size_t end = begin + 1;
    uint64_t stop = lines[begin].position + bytes;
    while (end < lines.size() && lines[end].position <= stop + kGapBytes &&
           lines[end].position + bytes - lines[begin].position <= kReadBytes) {
      stop = std::max(stop, lines[end].position + bytes);
      ++end;
    }
    const uint64_t length = stop - lines[begin].position;
    std::byte* const read = buffer->Reserve(length);
    SMELT_RETURN_IF_ERROR(storage.ReadAt(lines[begin].position, std::span(read, length)));
    SMELT_RETURN_IF_ERROR(fn(begin, end, read, lines[begin].position));
    begin = end;
  }
  return absl::OkStatus();
}

/// Where rows of the tile come from, and where they go. `Out` writes decoded or raw values.
class TileReader {
 public:
  TileReader(const TensorInfo& info, uint64_t first, uint64_t count)
      : info_(info), recipe_(*info.recipe), width_(recipe_.matrix_columns()), sources_(count) {
    for (uint64_t i = 0; i < count; ++i) sources_[i] = recipe_.SourceRow(first + i);
  }

  uint64_t width() const { return width_; }

  absl::Status Read(float* out) { return ReadAll(out, nullptr); }
  absl::Status ReadRaw(std::byte* out) { return ReadAll(nullptr, out); }

 private:
  absl::Status ReadAll(float* out, std::byte* raw) {
    uint64_t first_row = 0;
    for (size_t group = 0; group < recipe_.leaves.size(); group += recipe_.across) {
      const uint64_t rows = LeafRows(recipe_.leaves[group]);
      uint64_t column = 0;
      for (size_t i = group; i < group + recipe_.across; ++i) {
        SMELT_RETURN_IF_ERROR(ReadLeaf(recipe_.leaves[i], first_row, rows, column, out, raw));
        column += LeafColumns(recipe_.leaves[i]);
      }
      first_row += rows;
    }
    if (!recipe_.columns) return absl::OkStatus();
    const TensorTypeInfo& type = Info(info_.type);
    if (raw != nullptr) MoveColumns(type.block_elements, type.block_bytes, raw);
    if (out != nullptr) MoveColumns(1, sizeof(float), reinterpret_cast<std::byte*>(out));
    return absl::OkStatus();
  }

  /// Columns of the tile, of `size` bytes for each `block` of them, to their places.
  void MoveColumns(uint64_t block, uint64_t size, std::byte* rows) const {
    const SwapRows& map = *recipe_.columns;
    std::vector<std::byte> row(width_ / block * size);
    for (uint64_t i = 0; i < sources_.size(); ++i) {
      std::byte* to = rows + i * row.size();
      std::memcpy(row.data(), to, row.size());
      for (uint64_t c = map.first; c < width_; c += map.unit) {
        std::memcpy(to + c / block * size, row.data() + map.Source(c) / block * size,
                    map.unit / block * size);
      }
    }
  }

  /// The part of the tile that one leaf gives: its rows [first_row, +rows) and columns
  /// [target, ...) of the matrix.
  absl::Status ReadLeaf(const Leaf& leaf, uint64_t first_row, uint64_t rows, uint64_t target,
                        float* out, std::byte* raw) {
    const uint64_t n = LeafColumns(leaf);
    std::vector<std::pair<uint64_t, uint64_t>> wanted;  // row of the leaf, row of the tile
    for (uint64_t i = 0; i < sources_.size(); ++i) {
      if (sources_[i] >= first_row && sources_[i] - first_row < rows)
        wanted.emplace_back(sources_[i] - first_row, i);
    }
    if (wanted.empty()) return absl::OkStatus();
    if (const auto* constant = std::get_if<ConstantLeaf>(&leaf)) {
      const float* values = constant->values.data();
      for (const auto& [row, tile_row] : wanted) {
        if (out != nullptr) std::copy_n(values, n, out + tile_row * width_ + target);
        if (raw != nullptr) std::memcpy(raw + (tile_row * width_ + target) * 4, values, n * 4);
      }
      return absl::OkStatus();
    }
    if (std::get<RawLeaf>(leaf).tensor.computed != nullptr)
      return ReadComputed(std::get<RawLeaf>(leaf), wanted, target, out, raw);
    SMELT_ASSIGN_OR_RETURN(const LeafView view, View(std::get<RawLeaf>(leaf)));
    if (view.row_step < view.column_step) return ReadColumns(view, wanted, n, target, out);
    return ReadRowLines(view, wanted, n, target, out, raw);
  }

  absl::Status ReadRowLines(const LeafView& view,
                            const std::vector<std::pair<uint64_t, uint64_t>>& wanted, uint64_t n,
                            uint64_t target, float* out, std::byte* raw) {
    const uint64_t size = view.element_bytes;
    std::vector<Line> lines;
    lines.reserve(wanted.size());
    for (const auto& [row, tile_row] : wanted) {
      lines.push_back({row, view.tensor->offset + row * view.row_step * size, tile_row});
    }
    std::sort(lines.begin(), lines.end(),
              [](const Line& a, const Line& b) { return a.position < b.position; });
    const uint64_t bytes = ((n - 1) * view.column_step + 1) * size;
    return ReadLines(
        *view.tensor->storage, lines, bytes,
        [&](size_t begin, size_t end, const std::byte* base, uint64_t position) -> absl::Status {
          for (size_t i = begin; i < end; ++i) {
            const std::byte* in = base + (lines[i].position - position);
            const uint64_t at = lines[i].target * width_ + target;
            if (raw != nullptr) {
              CopyElements(in, view.column_step * size, n, size, raw + at * size);
              continue;
            }
            DecodeElements(view.tensor->dtype, in, view.column_step * size, n, out + at);
            if (const auto bad = FirstNotFinite(out + at, n)) {
              return NotFinite(view, lines[i].index, *bad, out[at + *bad]);
            }
          }
          return absl::OkStatus();
        });
  }

  /// A transposed leaf: stored lines are columns of the matrix; blocks of them are decoded, then
  /// turned.
  absl::Status ReadColumns(const LeafView& view,
                           const std::vector<std::pair<uint64_t, uint64_t>>& wanted, uint64_t n,
                           uint64_t target, float* out) {
    const uint64_t size = view.element_bytes;
    uint64_t low = wanted[0].first, high = low;
    for (const auto& [row, tile_row] : wanted) {
      low = std::min(low, row);
      high = std::max(high, row);
    }
    std::vector<Line> lines;
    lines.reserve(n);
    for (uint64_t c = 0; c < n; ++c) {
      lines.push_back(
          {c, view.tensor->offset + (c * view.column_step + low * view.row_step) * size, c});
    }
    const uint64_t span = high - low + 1;
    const uint64_t bytes = ((span - 1) * view.row_step + 1) * size;
    std::vector<float> block;
    return ReadLines(
        *view.tensor->storage, lines, bytes,
        [&](size_t begin, size_t end, const std::byte* base, uint64_t position) -> absl::Status {
          block.resize((end - begin) * span);
          for (size_t i = begin; i < end; ++i) {
            float* line = block.data() + (i - begin) * span;
            DecodeElements(view.tensor->dtype, base + (lines[i].position - position),
                           view.row_step * size, span, line);
            if (const auto bad = FirstNotFinite(line, span)) {
              return NotFinite(view, low + *bad, lines[i].index, line[*bad]);
            }
          }
          for (const auto& [row, tile_row] : wanted) {
            float* to = out + tile_row * width_ + target + begin;
            const float* in = block.data() + (row - low);
            for (size_t i = 0; i < end - begin; ++i) to[i] = in[i * span];
          }
          return absl::OkStatus();
        });
  }

  /// Rows of codes and scales, neighbouring ones together.
  absl::Status ReadComputed(const RawLeaf& leaf, std::vector<std::pair<uint64_t, uint64_t>> wanted,
                            uint64_t target, float* out, std::byte* raw) {
    static const PerThread<ByteBuffer> buffer;
    const ComputedMatrix& matrix = *leaf.tensor.computed;
    if (leaf.transposed) return ReadComputedColumns(leaf, wanted, target, out);
    const uint64_t n = leaf.columns;
    std::ranges::sort(wanted);  // rotary rows are permuted
    const uint64_t bytes = raw == nullptr ? n * sizeof(float) : RowBytes(info_.type, n).value_or(0);
    const uint64_t most = RowsAtOnce(matrix, bytes);
    for (size_t begin = 0; begin < wanted.size();) {
      const uint64_t first = wanted[begin].first;
      size_t end = begin + 1;  // every other row of interleaved ones too
      while (end < wanted.size() && wanted[end].first <= wanted[end - 1].first + 2 &&
             wanted[end].first - first < most)
        ++end;
      const std::span rows = std::span(wanted).subspan(begin, end - begin);
      const uint64_t count = rows.back().first + 1 - first;
      const auto target_of = [&](uint64_t tile_row) {
        return raw != nullptr ? raw + tile_row * bytes
                              : reinterpret_cast<std::byte*>(out + tile_row * width_ + target);
      };
      const bool in_place = width_ == n && FollowEachOther(rows);
      std::byte* const read = in_place ? target_of(rows[0].second) : buffer->Reserve(count * bytes);
      SMELT_RETURN_IF_ERROR(ReadComputedRows(leaf, first, count, read, raw != nullptr));
      for (size_t i = 0; i < rows.size() && !in_place; ++i)
        std::memcpy(target_of(rows[i].second), read + (rows[i].first - first) * bytes, bytes);
      begin = end;
    }
    return absl::OkStatus();
  }

  /// Rows that stay in the second-level cache until they are where they belong.
  static uint64_t RowsAtOnce(const ComputedMatrix& matrix, uint64_t row_bytes) {
    constexpr uint64_t kBytes = 256 << 10;
    const uint64_t tile = std::max<uint64_t>(1, matrix.tile_rows());
    return std::max<uint64_t>(1, kBytes / std::max<uint64_t>(1, row_bytes) / tile) * tile;
  }

  /// Whether rows of the leaf go to the tile as they lie.
  static bool FollowEachOther(std::span<const std::pair<uint64_t, uint64_t>> rows) {
    for (size_t i = 0; i < rows.size(); ++i) {
      if (rows[i].first != rows[0].first + i || rows[i].second != rows[0].second + i) return false;
    }
    return true;
  }

  absl::Status ReadComputedRows(const RawLeaf& leaf, uint64_t first, uint64_t count, std::byte* out,
                                bool blocks) const {
    const ComputedMatrix& matrix = *leaf.tensor.computed;
    if (blocks) return matrix.ReadBlocks(first, count, out);
    const uint64_t n = leaf.columns;
    float* const values = reinterpret_cast<float*>(out);
    SMELT_RETURN_IF_ERROR(matrix.ReadRows(first, count, values));
    if (const auto bad = FirstNotFinite(values, count * n))
      return NotFinite(leaf, first + *bad / n, *bad % n, values[*bad]);
    return absl::OkStatus();
  }

  /// A transposed leaf, a few rows of codes at a time.
  absl::Status ReadComputedColumns(const RawLeaf& leaf,
                                   const std::vector<std::pair<uint64_t, uint64_t>>& wanted,
                                   uint64_t target, float* out) {
    const uint64_t rows = leaf.tensor.shape[0], columns = leaf.tensor.shape[1];
    const uint64_t step = std::max<uint64_t>(1, kReadBytes / sizeof(float) / columns);
    std::vector<float> values(std::min(step, rows) * columns);
    for (uint64_t first = 0; first < rows; first += step) {
      const uint64_t count = std::min(step, rows - first);
      SMELT_RETURN_IF_ERROR(leaf.tensor.computed->ReadRows(first, count, values.data()));
      if (const auto bad = FirstNotFinite(values.data(), count * columns))
        return NotFinite(leaf, first + *bad / columns, *bad % columns, values[*bad]);
      for (const auto& [row, tile_row] : wanted) {
        for (uint64_t i = 0; i < count; ++i)
          out[tile_row * width_ + target + first + i] = values[i * columns + row];
      }
    }
    return absl::OkStatus();
  }

  /// "tensor SOURCE (NAME", once where they are the same.
  std::string Named(const RawTensor& source) const {
    return Cat("tensor ", Escape(source.name),
               source.name == info_.name ? "" : Cat(" (", info_.name, ")"));
  }

  absl::Status NotFinite(const RawLeaf& leaf, uint64_t row, uint64_t column, float value) const {
    return Error(ErrorCode::kInvalidInput, Named(leaf.tensor), " (", leaf.tensor.computed->format(),
                 ") has the value ", NotFiniteText(value), " at row ", row, ", column ", column,
                 " (counted from 0): weights must be finite");
  }

  absl::Status NotFinite(const LeafView& view, uint64_t row, uint64_t column, float value) const {
    const bool overflow = view.tensor->dtype == RawType::kF64;
    return Error(
        ErrorCode::kInvalidInput, Named(*view.tensor), " has the value ", NotFiniteText(value),
        " at ", SourcePlace(view, row, column),
        overflow ? " (counted from 0; or a double beyond the range of f32)" : " (counted from 0)",
        ": weights must be finite");
  }

  const TensorInfo& info_;
  const Recipe& recipe_;
  const uint64_t width_;
  std::vector<uint64_t> sources_;
};

/// Rows [first, first + count) of the result, of `columns` each.
void Scale(const ScaleRows& scale, uint64_t first, uint64_t count, uint64_t columns,
           float* values) {
  size_t section = 0;
  uint64_t end = scale.sections[0].rows;
  for (uint64_t row = first; row < first + count; ++row) {
    while (section + 1 < scale.sections.size() && row >= end) end += scale.sections[++section].rows;
    const float factor = static_cast<float>(scale.sections[section].factor);
    for (uint64_t i = 0; i < columns; ++i) *values++ *= factor;
  }
}

void Apply(const ElementOp& op, float* values, uint64_t n) {
  if (const auto* add = std::get_if<AddConstant>(&op)) {
    const float c = static_cast<float>(add->value);
    for (uint64_t i = 0; i < n; ++i) values[i] += c;
  } else {
    for (uint64_t i = 0; i < n; ++i)
      values[i] = static_cast<float>(-std::exp(static_cast<double>(values[i])));
  }
}

/// Rows of the matrix that hold result rows [first, first + count), and how many elements of the
/// first to leave out.
struct MatrixRange {
  uint64_t first, count, skip;
};

MatrixRange RangeOf(const TensorInfo& info, uint64_t first, uint64_t count) {
  const uint64_t columns = info.shape.columns(), width = info.recipe->matrix_columns();
  const uint64_t begin = first * columns, end = (first + count) * columns;
  return {begin / width, (end + width - 1) / width - begin / width, begin % width};
}

}  // namespace

absl::Status ReadRecipeRows(const TensorInfo& info, uint64_t first, uint64_t count, float* out) {
  if (count == 0) return absl::OkStatus();
  const MatrixRange range = RangeOf(info, first, count);
  TileReader reader(info, range.first, range.count);
  const uint64_t n = count * info.shape.columns();
  if (range.count * reader.width() == n) {
    SMELT_RETURN_IF_ERROR(reader.Read(out));
  } else {  // a matrix row is longer than a result row
    std::vector<float> rows(range.count * reader.width());
    SMELT_RETURN_IF_ERROR(reader.Read(rows.data()));
    std::copy_n(rows.data() + range.skip, n, out);
  }
  if (info.recipe->elements.empty()) return absl::OkStatus();
  for (const ElementOp& op : info.recipe->elements) {
    if (const auto* scale = std::get_if<ScaleRows>(&op)) {
      Scale(*scale, first, count, info.shape.columns(), out);
    } else {
      Apply(op, out, n);
    }
  }
  if (const auto bad = FirstNotFinite(out, n)) {
    const uint64_t columns = info.shape.columns();
    return Error(ErrorCode::kInvalidInput, "tensor ", info.name, ": the value computed at row ",
                 first + *bad / columns, ", column ", *bad % columns, " is not finite (",
                 Escape(info.recipe->ToText(), 160), ")");
  }
  return absl::OkStatus();
}

namespace {

/// Stored rows of leaves that are stored column by column: turned as f32, which holds every value
/// of the stored types.
absl::Status ReadTurnedRows(const TensorInfo& info, uint64_t first, uint64_t count,
                            std::byte* out) {
  const uint64_t n = count * info.shape.columns();
  std::vector<float> values(n);
  SMELT_RETURN_IF_ERROR(ReadRecipeRows(info, first, count, values.data()));
  if (info.type == TensorType::kF32) {
    std::memcpy(out, values.data(), n * sizeof(float));
    return absl::OkStatus();
  }
  for (uint64_t i = 0; i < n; ++i) {
    const uint16_t half =
        info.type == TensorType::kF16 ? F32ToF16(values[i]) : F32ToBf16(values[i]);
    std::memcpy(out + i * sizeof half, &half, sizeof half);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadRecipeRawRows(const TensorInfo& info, uint64_t first, uint64_t count,
                               std::byte* out) {
  if (!info.recipe->only_gathers() || info.recipe->leaves.empty()) {
    return Error(ErrorCode::kUnsupported, "tensor ", info.name,
                 " is computed, it has no stored bytes");
  }
  bool turned = false;  // an archive's view may be a transposed matrix
  for (const Leaf& leaf : info.recipe->leaves) {
    const auto* raw = std::get_if<RawLeaf>(&leaf);
    const bool blocks = raw != nullptr && raw->tensor.computed != nullptr;
    if (blocks) continue;  // only_gathers: all of them have the type
    if (raw != nullptr && SameTensorType(raw->tensor.dtype) != info.type) {
      return Error(ErrorCode::kUnsupported, "tensor ", info.name, " is stored in several types");
    }
    if (raw == nullptr) continue;
    SMELT_ASSIGN_OR_RETURN(const LeafView view, View(*raw));
    turned |= view.row_step < view.column_step;
  }
  if (count == 0) return absl::OkStatus();
  if (turned) return ReadTurnedRows(info, first, count, out);
  const MatrixRange range = RangeOf(info, first, count);
  TileReader reader(info, range.first, range.count);
  if (Info(info.type).quantized) return reader.ReadRaw(out);
  const uint64_t size = Info(info.type).block_bytes, n = count * info.shape.columns();
  if (range.count * reader.width() == n) return reader.ReadRaw(out);
  std::vector<std::byte> rows(range.count * reader.width() * size);
  SMELT_RETURN_IF_ERROR(reader.ReadRaw(rows.data()));
  std::memcpy(out, rows.data() + range.skip * size, n * size);
  return absl::OkStatus();
}

}  // namespace smelt
