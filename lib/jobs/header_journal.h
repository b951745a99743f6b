// Replacing the first bytes of a file in place, so that a kill or a power cut in between loses
// nothing.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace smelt {

/// The bytes from the start of the open file `fd` (of the name `path`) become `after`, which is as
/// long as `before`, what stands there now. Both are written to the journal PATH.set-journal first,
/// which goes when the file is on the disk. After an error the journal says what remains to be
/// done.
absl::Status ReplaceHeader(int fd, const std::string& path, std::span<const std::byte> before,
                           std::span<const std::byte> after);

/// Does what the journal beside `path` says, if there is one; whether there was. kInvalidInput when
/// it is damaged or belongs to another file: each byte of the file is to be the old or the new one.
absl::StatusOr<bool> FinishReplacing(int fd, const std::string& path);

}  // namespace smelt
