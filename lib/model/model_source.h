// The model as a GGUF file would hold it, whatever it came from. Planner and engine read this and
// nothing else.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/metadata.h"
#include "lib/base/tensor_type.h"
#include "lib/base/text_hash.h"

namespace smelt {

struct Recipe;

/// Extents in ggml order: ne[0] = columns, running fastest. Unused ones are 1.
struct Shape {
  std::array<uint64_t, 4> ne = {1, 1, 1, 1};
  int dims = 0;  ///< as written in a file, 0..4

  uint64_t columns() const { return ne[0]; }
  uint64_t rows() const { return ne[1] * ne[2] * ne[3]; }  ///< checked when the shape was read
  uint64_t elements() const { return columns() * rows(); }
  std::string ToText() const;  ///< "256 x 606"
  friend bool operator==(const Shape&, const Shape&) = default;
};

struct TensorInfo {
  std::string name;
  Shape shape;
  /// The type in which the values are stored: what RawRows and MapRows hand out. F32 when the
  /// recipe computes.
  TensorType type = TensorType::kF32;
  /// Rows that are read well together (whole blocks of a transposed leaf, one expert, ...).
  uint64_t tile_rows = 1;
  /// How it is made from published tensors; nullptr for sources that store it as it is (GGUF).
  const Recipe* recipe = nullptr;
  /// Belongs to the stored form of that tensor (NVFP4's ".scale"): ReadRows of that one has applied
  /// it, and without its blocks it means nothing.
  std::optional<size_t> companion_of = std::nullopt;
  /// Its type before adapters were merged into it; nothing: none were.
  std::optional<TensorType> unmerged = std::nullopt;

  /// The type that its values have in the files.
  TensorType file_type() const { return unmerged.value_or(type); }
};

/// Where GGUF holds what the blocks of tensor "X.weight" are multiplied with: "X.scale".
std::string ScaleName(std::string_view weight);

/// Rows in memory, in the stored type. Either evenly spaced (`pointers` empty) or one pointer a
/// row.
struct MappedRows {
  const std::byte* base = nullptr;
  uint64_t stride = 0;  ///< bytes from row to row
  std::vector<const std::byte*> pointers;
  /// What decoded values are multiplied with, of every `factor_rows` rows (NVFP4); empty: nothing.
  std::vector<float> factors = {};
  uint64_t factor_rows = 0;

  float factor(uint64_t i) const { return factors.empty() ? 1 : factors[i / factor_rows]; }
  const std::byte* row(uint64_t i) const {
    return pointers.empty() ? base + i * stride : pointers[i];
  }
};

/// Row i of a tensor runs over ne[1], ne[2], ne[3] together (row = i1 + ne[1] (i2 + ne[2] i3)).
/// Thread-safe.
class ModelSource {
 public:
  virtual ~ModelSource() = default;

  virtual const Metadata& metadata() const = 0;
  virtual const std::vector<TensorInfo>& tensors() const = 0;
  /// What to call the model in messages: the path or store name as given.
  virtual const std::string& name() const = 0;
  /// Changes when any file underneath changes (sizes, times, header hashes).
  virtual std::string identity() const = 0;

  /// `count` rows as f32, row after row. Fails with the tensor, row and column of the first value
  /// that is not finite.
  virtual absl::Status ReadRows(size_t tensor, uint64_t first, uint64_t count,
                                float* out) const = 0;

  /// `count` rows in the stored type, RowBytes(type, columns) each. kUnsupported where the recipe
  /// computes.
  virtual absl::Status ReadRawRows(size_t tensor, uint64_t first, uint64_t count,
                                   std::byte* out) const = 0;

  /// All rows mapped, in the stored type, valid as long as the source. kUnsupported where the
  /// recipe computes (the caller then uses ReadRows); recipes that only gather whole rows (slices,
  /// permutations, stacks) are mapped.
  virtual absl::StatusOr<MappedRows> MapRows(size_t tensor) const = 0;

  /// A tensor's rows are not needed soon (Storage::DropPages).
  virtual void DropPages(size_t /*tensor*/) const {}

  /// Index of a tensor, or -1.
  int Find(std::string_view tensor_name) const;

 protected:
  /// Derived classes call it once their tensors are listed.
  void BuildIndex();

 private:
  TextMap<std::string, int> index_;
};

}  // namespace smelt
