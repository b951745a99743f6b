// Quantized checkpoints, judged by the tensors: what config.json says of it may be left over from
// somewhere else.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "formats/container.h"
#include "lib/model/config.h"

namespace smelt {

/// Makes weights of what a quantization stores as codes and scales. Refuses by name what is known
/// and not read, and a method that nobody knows. Plain weights under a known method are read, with
/// a note.
absl::Status ReadQuantized(const Config& config, Container& container,
                           std::vector<std::string>& notes);

}  // namespace smelt
