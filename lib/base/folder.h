// What is in a folder.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace smelt {

/// Sorted names of the entries but for "." and "..". kNotFound, kIo. Not std::filesystem's
/// iterator, which ends the process when it finds no memory.
absl::StatusOr<std::vector<std::string>> ListFolder(const std::string& path);

}  // namespace smelt
