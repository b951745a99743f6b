// Which type every tensor of an output gets, from the type that the user asked for.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/jobs/plan.h"
#include "quant/presets.h"

namespace smelt {

struct OutputTypes {
  std::string name;                     ///< "Q4_K_M", "F16", "COPY"
  std::optional<uint32_t> file_type;    ///< general.file_type; empty: the source's stays
  std::vector<TypeChoice> choices;      ///< in the order of the source's tensors
  std::vector<std::string> warnings{};  ///< options that do not do what they say
};

/// Presets choose as llama-quantize does; f32, f16, bf16 and auto on published tensors as
/// llama.cpp's converter does (norms, biases and other small tensors stay F32).
absl::StatusOr<OutputTypes> ChooseOutputTypes(const ModelSource& source,
                                              const PlanOptions& options);

}  // namespace smelt
