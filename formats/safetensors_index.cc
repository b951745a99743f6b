// A directory of safetensors files: STEM.safetensors, or shards under its index.
#include "formats/safetensors.h"
#include "formats/weight_index.h"

namespace smelt {

absl::StatusOr<Container> OpenSafetensorsDirectory(const std::string& directory,
                                                   const std::string& stem) {
  return OpenWholeOrShards(directory, stem + ".safetensors", {.open = OpenSafetensors});
}

absl::StatusOr<Container> OpenSafetensorsDirectory(const std::string& directory) {
  return OpenSafetensorsDirectory(directory, "model");
}

}  // namespace smelt
