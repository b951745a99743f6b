// Whether published weights are quantized, judged by the tensors: what config.json says of it may
// be left over from somewhere else.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "formats/container.h"
#include "lib/model/config.h"

namespace smelt {

/// Refuses quantized weights by the name of their format, and a method that nobody knows. Plain
/// weights under a known method are read, with a note.
absl::Status CheckNotQuantized(const Config& config, const Container& container,
                               std::vector<std::string>& notes);

}  // namespace smelt
