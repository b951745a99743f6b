#include "lib/base/tensor_type.h"

#include <algorithm>
#include <array>

#include "lib/base/ascii.h"
#include "lib/base/checked.h"

namespace smelt {
namespace {

using enum TensorType;

constexpr std::array kTypes = {
    TensorTypeInfo{kF32, "F32", 1, 4, false},
    TensorTypeInfo{kF16, "F16", 1, 2, false},
    TensorTypeInfo{kQ4_0, "Q4_0", 32, 18, true},
    TensorTypeInfo{kQ4_1, "Q4_1", 32, 20, true},
    TensorTypeInfo{kQ5_0, "Q5_0", 32, 22, true},
    TensorTypeInfo{kQ5_1, "Q5_1", 32, 24, true},
    TensorTypeInfo{kQ8_0, "Q8_0", 32, 34, true},
    TensorTypeInfo{kQ8_1, "Q8_1", 32, 36, true},
    TensorTypeInfo{kQ2_K, "Q2_K", 256, 84, true},
    TensorTypeInfo{kQ3_K, "Q3_K", 256, 110, true},
    TensorTypeInfo{kQ4_K, "Q4_K", 256, 144, true},
    TensorTypeInfo{kQ5_K, "Q5_K", 256, 176, true},
    TensorTypeInfo{kQ6_K, "Q6_K", 256, 210, true},
    TensorTypeInfo{kQ8_K, "Q8_K", 256, 292, true},
    TensorTypeInfo{kIQ2_XXS, "IQ2_XXS", 256, 66, true},
    TensorTypeInfo{kIQ2_XS, "IQ2_XS", 256, 74, true},
    TensorTypeInfo{kIQ3_XXS, "IQ3_XXS", 256, 98, true},
    TensorTypeInfo{kIQ1_S, "IQ1_S", 256, 50, true},
    TensorTypeInfo{kIQ4_NL, "IQ4_NL", 32, 18, true},
    TensorTypeInfo{kIQ3_S, "IQ3_S", 256, 110, true},
    TensorTypeInfo{kIQ2_S, "IQ2_S", 256, 82, true},
    TensorTypeInfo{kIQ4_XS, "IQ4_XS", 256, 136, true},
    TensorTypeInfo{kI8, "I8", 1, 1, false},
    TensorTypeInfo{kI16, "I16", 1, 2, false},
    TensorTypeInfo{kI32, "I32", 1, 4, false},
    TensorTypeInfo{kI64, "I64", 1, 8, false},
    TensorTypeInfo{kF64, "F64", 1, 8, false},
    TensorTypeInfo{kIQ1_M, "IQ1_M", 256, 56, true},
    TensorTypeInfo{kBF16, "BF16", 1, 2, false},
    TensorTypeInfo{kTQ1_0, "TQ1_0", 256, 54, true},
    TensorTypeInfo{kTQ2_0, "TQ2_0", 256, 66, true},
    TensorTypeInfo{kMXFP4, "MXFP4", 32, 17, true},
    TensorTypeInfo{kNVFP4, "NVFP4", 64, 36, true},
    TensorTypeInfo{kQ1_0, "Q1_0", 128, 18, true},
    TensorTypeInfo{kQ2_0, "Q2_0", 64, 18, true},
};

constexpr uint32_t kIdLimit = 43;

constexpr std::array<int8_t, kIdLimit> MakeIndex() {
  std::array<int8_t, kIdLimit> index{};
  index.fill(-1);
  for (size_t i = 0; i < kTypes.size(); ++i)
    index[static_cast<uint32_t>(kTypes[i].type)] = static_cast<int8_t>(i);
  return index;
}

constexpr std::array<int8_t, kIdLimit> kIndex = MakeIndex();

struct RemovedType {
  uint32_t id;
  std::string_view name;
};
constexpr std::array kRemoved = {RemovedType{4, "Q4_2"},        RemovedType{5, "Q4_3"},
                                 RemovedType{31, "Q4_0_4_4"},   RemovedType{32, "Q4_0_4_8"},
                                 RemovedType{33, "Q4_0_8_8"},   RemovedType{36, "IQ4_NL_4_4"},
                                 RemovedType{37, "IQ4_NL_4_8"}, RemovedType{38, "IQ4_NL_8_8"}};

}  // namespace

std::span<const TensorTypeInfo> AllTensorTypes() { return kTypes; }

const TensorTypeInfo* FindTensorType(uint32_t id) {
  return id < kIdLimit && kIndex[id] >= 0 ? &kTypes[kIndex[id]] : nullptr;
}

const TensorTypeInfo& Info(TensorType type) { return kTypes[kIndex[static_cast<uint32_t>(type)]]; }

std::optional<TensorType> ParseTensorType(std::string_view name) {
  for (const TensorTypeInfo& info : kTypes) {
    if (SameWithoutCase(info.name, name)) return info.type;
  }
  return std::nullopt;
}

std::string_view RemovedTensorTypeName(uint32_t id) {
  for (const RemovedType& removed : kRemoved) {
    if (removed.id == id) return removed.name;
  }
  return {};
}

std::optional<uint64_t> RowBytes(TensorType type, uint64_t columns) {
  const TensorTypeInfo& info = Info(type);
  if (columns % info.block_elements != 0) return std::nullopt;
  return CheckedMul(columns / info.block_elements, info.block_bytes);
}

}  // namespace smelt
