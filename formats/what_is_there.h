// What a folder without weights that can be read holds instead, and what to do about it.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace smelt {

/// kNotFound, or kUnsupported where what lies there is known: a trainer's shards and the tool that
/// joins them, another program's format. Names the files that were seen.
absl::Status NoWeights(const std::string& directory);

/// kUnsupported where a folder holds, or a file is, what is known and no model's weights.
absl::Status RefuseOtherForms(const std::string& path);

/// Names in a folder, sorted; a slash behind those of folders. None where it cannot be listed.
std::vector<std::string> ListEntries(const std::string& directory);

/// "a, b, c and 4 more", escaped.
std::string ListOf(const std::vector<std::string>& names, size_t shown = 4);

}  // namespace smelt
