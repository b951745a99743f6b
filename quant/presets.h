// Which type each tensor of a model gets: llama-quantize's presets, reproduced as tables.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/tensor_type.h"

namespace smelt {

struct Preset {
  std::string_view name;  ///< "Q4_K_M"
  uint32_t file_type;     ///< general.file_type
  TensorType base;
};

/// nullptr when unknown; any letter case; "q4_k" means Q4_K_M.
const Preset* FindPreset(std::string_view name);
/// All presets, in the order in which help lists them. NVFP4 is ours: llama.cpp has its number for
/// converted files of that type only, and its tensors are chosen as those of other 4-bit presets.
const std::vector<Preset>& AllPresets();

struct ShapeTensor {
  std::string name;
  uint64_t ne[4];
  int dims;
  TensorType type;  ///< in the source
};

/// A model as the presets see it.
struct ModelShape {
  std::string architecture;
  uint32_t layers = 0;
  uint32_t experts = 0;
  uint32_t heads = 0;                ///< layer 0
  uint32_t kv_heads = 0;             ///< layer 0; 0 where it has no keys and values
  std::vector<ShapeTensor> tensors;  ///< any order
};

struct PresetOptions {
  bool pure = false;
  bool leave_output_tensor = false;
  bool with_importance = false;
  std::optional<TensorType> output_tensor_type, token_embedding_type;
  std::vector<std::pair<std::string, TensorType>>
      tensor_types;  ///< ECMAScript regex (searched, lower-cased) -> type
};

struct TypeChoice {
  TensorType type;
  std::string why;  ///< "q4_k_m: first and last eighth and every third ffn_down", "columns 576 are
                    ///< no multiple of 256", ...
  std::optional<TensorType> misfit{};  ///< what `type` stands in for: its blocks do not divide rows
  std::string option{};  ///< that decided, with its value: "--tensor-type ffn_down=q6_k"; or empty
  bool kept = false;     ///< presets and options never change such a tensor
};

/// One choice per tensor, in the order of shape.tensors. kUsage for a bad regex.
/// `warnings`, when given, gets a sentence for each option that does not do what it says.
absl::StatusOr<std::vector<TypeChoice>> ChooseTypes(const ModelShape& shape, const Preset& preset,
                                                    const PresetOptions& options,
                                                    std::vector<std::string>* warnings = nullptr);

/// Changes of `choices`, which are those of shape.tensors, only what --tensor-type names; what the
/// presets never change, and what the type's blocks do not divide, stays. Errors, `warnings`: as
/// ChooseTypes.
absl::Status ChangeNamed(const ModelShape& shape, const PresetOptions& options,
                         std::vector<TypeChoice>& choices, std::vector<std::string>& warnings);

}  // namespace smelt
