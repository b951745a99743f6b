// Quantized checkpoints, judged by the tensors: what config.json says of them may be left over from
// somewhere else.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "formats/container.h"
#include "lib/model/config.h"

namespace smelt {

/// A file of the folder by name; nullopt where there is none.
using SideFileReader = std::function<std::optional<std::string>(std::string_view name)>;

/// Makes weights of what a quantization stores as codes and scales. Where config.json says nothing,
/// the quantizer's own file beside it is asked. Refuses by name what is known and not read, and a
/// method that nobody knows. Plain weights under a known method are read, with a note.
absl::Status ReadQuantized(const Config& config, const SideFileReader& side_file,
                           Container& container, std::vector<std::string>& notes);

}  // namespace smelt
