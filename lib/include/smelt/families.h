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
};

/// Every family whose folders with a config.json are read, in the order of their kinship.
SMELT_EXPORT absl::StatusOr<std::vector<PublishedFamily>> Families();

}  // namespace smelt
