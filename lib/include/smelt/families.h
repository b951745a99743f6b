// Which published models can be read.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "smelt/export.h"

namespace smelt {

struct PublishedFamily {
  std::vector<std::string> classes;  ///< names in config.json's "architectures"
  std::string model_type;            ///< config.json's of these classes
  std::string architecture;          ///< general.architecture of the GGUF
  /// How its numbers are compared with transformers': "recorded" values of a small model, and of
  /// randomly "drawn" configurations.
  std::string checked;
  std::string llama_cpp;  ///< what llama.cpp computes or loads differently; empty: nothing known

  friend bool operator==(const PublishedFamily&, const PublishedFamily&) = default;
};

/// Every family whose folders with a config.json are read, in the order of their kinship.
SMELT_EXPORT absl::StatusOr<std::vector<PublishedFamily>> Families();

}  // namespace smelt
