// Names of outputs that nobody has chosen.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace smelt {

/// A name made of `text`, which comes from a file: letters, digits and `._+,=@%-`, beginning with a
/// letter or digit, of at most 120 bytes. Everything else becomes a dash. "model" when nothing is
/// left.
std::string SafeFileName(std::string_view text);

/// kUsage for "-", which other programs take for standard output: what we write needs a file.
absl::Status RefuseStandardOutput(std::string_view path, std::string_view option);

}  // namespace smelt
