// What people have on disk in place of a model's file: what a download left there instead.
#pragma once

#include <string_view>

#include "absl/status/status.h"

namespace smelt {

/// As many bytes of a file's start as RefuseStandIn can tell something from.
inline constexpr size_t kStandInBytes = 512;

/// kInvalidInput with the cause and the way out when `start`, the beginning of the file `file` (a
/// name for the message, escaped here), is what a download left in its place: a pointer of Git LFS
/// or git-annex, a web page, a server's refusal, nothing but zero bytes. Every opener of a model's
/// files asks it before it judges the content.
absl::Status RefuseStandIn(std::string_view file, std::string_view start);

/// The same where weights are expected, which never begin with a JSON object; and for archives that
/// hold them packed.
absl::Status RefuseText(std::string_view file, std::string_view start);

/// The same for pointers alone: what may be any text is never one of those.
absl::Status RefusePointer(std::string_view file, std::string_view start);

}  // namespace smelt
