// Which published tensors the modules of an adapter are for.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "lib/base/text_hash.h"
#include "lib/model/lora.h"
#include "lib/model/published_names.h"

namespace smelt {

/// A module, and what patterns call it.
struct AskedModule {
  std::string name;
  const LoraModule* module = nullptr;
};

/// By bare names of published tensors.
struct AskedTensors {
  TextMap<std::string, AskedModule> modules;
  TextMap<std::string, const RawTensor*> whole;
  TextMap<std::string, AskedModule> biases;  ///< what lora_B's biases are added to

  TextSet<std::string> Names() const;
};

/// The parameter that a module's matrices adapt where it is none with a weight of its own: PEFT
/// wraps a module once for each of target_parameters, and the names say only how deep. "": none.
absl::StatusOr<std::string> LoraParameter(const LoraConfig& config, const std::string& path,
                                          const std::string& module);

/// What patterns of ranks and alphas call such a parameter: without the wrappers around its module.
std::string ParameterName(std::string_view module, std::string_view parameter);

/// `path` of the adapter is for messages. Errors name a tensor that the family does not know.
absl::StatusOr<AskedTensors> AskedBy(const PublishedNames& names, const LoraAdapter& adapter,
                                     const LoraParts& parts);

}  // namespace smelt
