// What the operating system says when a call fails, as sentences.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace smelt {

/// The cause that `error` (an errno) stands for, with the cure where there is one ("Too many open
/// files; ...").
std::string SystemReason(int error);

/// "PATH: WHAT: CAUSE", with PATH escaped. kNoSpace where the disk or the user's quota is full, and
/// `when_full` behind it; kIo otherwise.
absl::Status SystemError(std::string_view path, std::string_view what, int error,
                         std::string_view when_full = "");

}  // namespace smelt
