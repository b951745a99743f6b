#include "formats/container.h"

#include <iterator>

#include "lib/base/cat.h"

namespace smelt {
namespace {

struct RawTypeInfo {
  std::string_view name;
  uint32_t bits;
  std::optional<TensorType> same;
};

// In the order of RawType.
constexpr RawTypeInfo kRawTypes[] = {
    {"F64", 64, TensorType::kF64},   {"F32", 32, TensorType::kF32}, {"F16", 16, TensorType::kF16},
    {"BF16", 16, TensorType::kBF16}, {"F8_E4M3", 8, std::nullopt},  {"F8_E5M2", 8, std::nullopt},
    {"I64", 64, TensorType::kI64},   {"I32", 32, TensorType::kI32}, {"I16", 16, TensorType::kI16},
    {"I8", 8, TensorType::kI8},      {"U64", 64, std::nullopt},     {"U32", 32, std::nullopt},
    {"U16", 16, std::nullopt},       {"U8", 8, std::nullopt},       {"BOOL", 8, std::nullopt},
    {"F8_E8M0", 8, std::nullopt},    {"F4", 4, std::nullopt},       {"C64", 64, std::nullopt},
};
static_assert(std::size(kRawTypes) == static_cast<size_t>(RawType::kC64) + 1);

const RawTypeInfo& InfoOf(RawType type) { return kRawTypes[static_cast<size_t>(type)]; }

}  // namespace

std::string_view Name(RawType type) { return InfoOf(type).name; }
uint32_t BitsOf(RawType type) { return InfoOf(type).bits; }
std::optional<TensorType> SameTensorType(RawType type) { return InfoOf(type).same; }

std::optional<RawType> ParseRawType(std::string_view name) {
  for (size_t i = 0; i < std::size(kRawTypes); ++i) {
    if (kRawTypes[i].name == name) return static_cast<RawType>(i);
  }
  return std::nullopt;
}

std::string ShapeText(std::span<const uint64_t> extents) {
  std::string text;
  for (uint64_t extent : extents) text += Cat(text.empty() ? "" : " x ", extent);
  return text.empty() ? "scalar" : text;
}

std::vector<int64_t> ContiguousStrides(const std::vector<uint64_t>& shape) {
  std::vector<int64_t> strides(shape.size());
  uint64_t step = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    strides[i] = static_cast<int64_t>(step);
    step *= shape[i];
  }
  return strides;
}

uint64_t RawTensor::elements() const {
  uint64_t n = 1;
  for (uint64_t extent : shape) n *= extent;
  return n;
}

bool RawTensor::contiguous() const {
  uint64_t step = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    if (shape[i] == 0) return true;
    if (shape[i] != 1 && strides[i] != static_cast<int64_t>(step)) return false;
    step *= shape[i];
  }
  return true;
}

const RawTensor* Container::Find(std::string_view name) const {
  for (const RawTensor& tensor : tensors) {
    if (tensor.name == name) return &tensor;
  }
  return nullptr;
}

}  // namespace smelt
