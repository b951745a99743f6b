// The tensor types of GGUF: id, name and block geometry. Data only; quant/ holds what the blocks
// mean.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace smelt {

/// Values are the type ids of the GGUF format.
enum class TensorType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ8_1 = 9,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kQ8_K = 15,
  kIQ2_XXS = 16,
  kIQ2_XS = 17,
  kIQ3_XXS = 18,
  kIQ1_S = 19,
  kIQ4_NL = 20,
  kIQ3_S = 21,
  kIQ2_S = 22,
  kIQ4_XS = 23,
  kI8 = 24,
  kI16 = 25,
  kI32 = 26,
  kI64 = 27,
  kF64 = 28,
  kIQ1_M = 29,
  kBF16 = 30,
  kTQ1_0 = 34,
  kTQ2_0 = 35,
  kMXFP4 = 39,
  kNVFP4 = 40,
  kQ1_0 = 41,
  kQ2_0 = 42,
};

struct TensorTypeInfo {
  TensorType type;
  std::string_view name;    ///< as the field writes it: "Q4_K", "BF16"
  uint32_t block_elements;  ///< columns per block
  uint32_t block_bytes;
  bool quantized;  ///< block format that loses information (not F*, BF16, I*)
};

/// Every type of the table, by ascending id.
std::span<const TensorTypeInfo> AllTensorTypes();

/// nullptr for ids that are unknown or removed from the format.
const TensorTypeInfo* FindTensorType(uint32_t id);

/// The entry of a type that exists.
const TensorTypeInfo& Info(TensorType type);

/// "q4_k", "Q4_K" -> kQ4_K; any letter case.
std::optional<TensorType> ParseTensorType(std::string_view name);

/// Names of removed ids ("Q4_2", "Q4_0_4_4" ...) for error messages; empty when the id was never
/// used.
std::string_view RemovedTensorTypeName(uint32_t id);

/// Bytes of a row of `columns` elements; nullopt if columns is no multiple of the block or the
/// product overflows.
std::optional<uint64_t> RowBytes(TensorType type, uint64_t columns);

}  // namespace smelt
