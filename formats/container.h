// What a file holds, without its meaning: raw tensors with dtype, shape, strides and place.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/storage.h"
#include "lib/base/tensor_type.h"

namespace smelt {

/// Element types of published tensors.
enum class RawType {
  kF64,
  kF32,
  kF16,
  kBF16,
  kF8_E4M3,
  kF8_E5M2,
  kI64,
  kI32,
  kI16,
  kI8,
  kU64,
  kU32,
  kU16,
  kU8,
  kBool,
  kF8_E8M0,
  kF4,
  kC64
};

std::string_view Name(RawType type);  ///< as safetensors spells it: "BF16", "F8_E4M3"
uint32_t BitsOf(RawType type);        ///< per element; 4 for kF4
/// The tensor type with the same bytes, where there is one (F64 F32 F16 BF16 I64 I32 I16 I8).
std::optional<TensorType> SameTensorType(RawType type);
std::optional<RawType> ParseRawType(std::string_view name);  ///< exact spelling only

/// "256 x 606"; "scalar" without extents.
std::string ShapeText(std::span<const uint64_t> extents);

/// Row-major strides of a shape whose element count does not overflow.
std::vector<int64_t> ContiguousStrides(const std::vector<uint64_t>& shape);

class ComputedMatrix;

/// A tensor as published. Shape is outermost first; strides count elements, row-major contiguous
/// unless the container says otherwise. The bytes lie in `storage` from `offset` (bounds were
/// checked by the container's Validate).
struct RawTensor {
  std::string name;
  RawType dtype = RawType::kF32;
  std::vector<uint64_t> shape;
  std::vector<int64_t> strides;
  std::shared_ptr<const Storage> storage;
  uint64_t offset = 0;
  /// Set where several stored tensors make this one: it has the values, `dtype` is F32, the place
  /// is that of one of them.
  std::shared_ptr<const ComputedMatrix> computed = nullptr;

  uint64_t elements() const;
  bool contiguous() const;
};

/// The tensors of one or several files, names unique.
struct Container {
  std::vector<RawTensor> tensors;
  std::vector<std::pair<std::string, std::string>> metadata;  ///< the file's own free-form pairs
  std::vector<std::shared_ptr<const Storage>> files;  ///< what was opened, for identity and totals
  std::vector<std::string> warnings;                  ///< sentences for the user
  std::vector<std::string> notes = {};                ///< what was left aside, and why
  /// The files, where nothing but their content says that they belong together; for messages.
  std::string joined = "";

  const RawTensor* Find(
      std::string_view name) const;  ///< linear; build an index for more than a few
};

}  // namespace smelt
