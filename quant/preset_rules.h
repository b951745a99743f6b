// The presets' rules as tables: which tensors of which presets get another type than the base, and
// why. Source: llama-quantize, https://github.com/ggml-org/llama.cpp (tools/quantize).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "lib/base/tensor_type.h"
#include "quant/presets.h"

namespace smelt {

/// What a tensor is for, by its name.
enum class Role {
  kOutput,
  kEmbedding,
  kValue,
  kKey,
  kQuery,
  kAttentionOutput,
  kUp,
  kGate,
  kDown,
  kOther
};

/// By the name alone; output.weight may be absent where embeddings are tied.
Role RoleOf(std::string_view name);

/// Numbers of general.file_type.
enum class FileType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ8_0 = 7,
  kQ5_0 = 8,
  kQ5_1 = 9,
  kQ2_K = 10,
  kQ3_K_S = 11,
  kQ3_K_M = 12,
  kQ3_K_L = 13,
  kQ4_K_S = 14,
  kQ4_K_M = 15,
  kQ5_K_S = 16,
  kQ5_K_M = 17,
  kQ6_K = 18,
  kIQ2_XXS = 19,
  kIQ2_XS = 20,
  kQ2_K_S = 21,
  kIQ3_XS = 22,
  kIQ3_XXS = 23,
  kIQ1_S = 24,
  kIQ4_NL = 25,
  kIQ3_S = 26,
  kIQ3_M = 27,
  kIQ2_S = 28,
  kIQ2_M = 29,
  kIQ4_XS = 30,
  kIQ1_M = 31,
  kBF16 = 32,
  kTQ1_0 = 36,
  kTQ2_0 = 37,
  kMXFP4_MOE = 38,
  kNVFP4 = 39,
  kQ1_0 = 40,
  kQ2_0 = 41,
};

/// What a rule may ask about the tensor and its model. Divisions are integer divisions.
struct RuleContext {
  int64_t index = 0;   ///< of the tensor among those of its role, or its layer (experts)
  int64_t layers = 0;  ///< block_count
  int64_t value_index = 0, value_count = 0;
  uint32_t experts = 0;
  uint32_t gqa = 0;  ///< query heads per key head in layer 0; 0 without key heads
  bool falcon = false;
  bool importance = false;
  bool stacked = false;           ///< ne[2] > 1, which counts as a tensor of experts
  bool whole_base_blocks = true;  ///< the columns are a multiple of the base type's block
};

struct PresetRule {
  uint64_t presets;  ///< bit n: the preset of file type n
  Role role;
  bool (*when)(const RuleContext&);
  TensorType type;
  std::string_view why;
};

/// In order: the first rule that holds decides; none: the base type.
std::span<const PresetRule> PresetRules();

/// What becomes of a type whose block does not divide the columns; of one that is not listed, or if
/// the columns are no multiple of 32 either: F16.
struct ShapeFallback {
  TensorType chosen, instead;
};
std::span<const ShapeFallback> ShapeFallbacks();

/// Tensors whose names contain one of these keep their type.
std::span<const std::string_view> KeptNames();

/// What holds in one architecture only, of tensors whose names contain `part`.
struct ArchitectureRule {
  std::string_view architecture, part;
  enum Effect { kKept, kAtLeastQ8 } effect = kKept;
};
std::span<const ArchitectureRule> ArchitectureRules();

}  // namespace smelt
