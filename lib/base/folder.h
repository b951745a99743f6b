// What stands at a path, and what is in a folder.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace smelt {

/// Whether a path leads to something, to a regular file, to a folder; links are followed. What
/// cannot be looked at is not there.
bool Exists(const std::string& path);
bool IsFile(const std::string& path);
bool IsFolder(const std::string& path);
/// Whether something has this name, whatever it is: a link that leads nowhere, too.
bool NameExists(const std::string& path);

/// Sorted names of the entries but for "." and "..". kNotFound, kIo. Not std::filesystem's
/// iterator, which ends the process when it finds no memory.
absl::StatusOr<std::vector<std::string>> ListFolder(const std::string& path);

}  // namespace smelt
