// What a user says of single tensors (--output-tensor-type, --token-embedding-type, --tensor-type),
// and what came of it.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "quant/presets.h"

namespace smelt {

struct TypeOption {
  std::string text;    ///< with its value: "--tensor-type ffn_down=q6_k"
  std::string reason;  ///< as TypeChoice::why names it: "--tensor-type ffn_down"
  TensorType type;
  std::vector<size_t> tensors{};  ///< that it names, in the order of the shape
};

struct TypeOptions {
  std::vector<TypeOption> all;
  std::optional<size_t> output, embedding;     ///< of `all`
  std::vector<std::optional<size_t>> pattern;  ///< of each tensor: the first --tensor-type
};

/// Which tensors each option names. kUsage for a bad regex.
absl::StatusOr<TypeOptions> MatchTypeOptions(const ModelShape& shape, const PresetOptions& options);

/// One sentence for each option without effect: it names no tensor; a tensor whose type is fixed;
/// one whose rows its blocks do not divide; or only tensors that an earlier option decides.
/// `choices` are those of the shape's tensors.
std::vector<std::string> TypeOptionWarnings(const ModelShape& shape, const TypeOptions& options,
                                            const std::vector<TypeChoice>& choices);

}  // namespace smelt
