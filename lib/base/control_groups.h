// The control groups of this process, by which containers are limited, and the small files in which
// /proc and /sys say what is.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"

namespace smelt {

/// Calls `visit` with the folder of each group that limits this process for `controller` ("cpu",
/// "memory"): its own and those around it, up to the root of the hierarchy. Inside of a container
/// the path may be the host's, and then only the root is there: that is the container's own group.
/// `unified`: version 2. `root`: where /proc and /sys/fs/cgroup are looked for, empty for the
/// system's own.
void VisitControlGroups(const std::string& root, std::string_view controller,
                        absl::FunctionRef<void(const std::string& folder, bool unified)> visit);

/// A file of a few lines; empty where it cannot be read.
std::string ReadSmallFile(const std::string& path);

/// Empty for "max", -1 and whatever else is no number above zero.
std::optional<double> PositiveNumber(std::string_view text);

/// The text up to `end`, which is taken off `rest` with it.
std::string_view TakeUpTo(std::string_view& rest, char end);

}  // namespace smelt
