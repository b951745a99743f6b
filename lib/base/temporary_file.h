// Files without a name, for what may be too big for memory.
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"
#include "lib/base/fd.h"

namespace smelt {

/// An empty file that is gone when it is closed, in TMPDIR, else /var/tmp, else /tmp. `what` it is
/// for begins the message of an error.
absl::StatusOr<Fd> OpenTemporaryFile(std::string_view what);

/// `bytes` (not 0) of zeros in memory whose pages belong to such a file: the system may write them
/// out when it needs room. The space is reserved.
absl::StatusOr<void*> MapTemporaryFile(uint64_t bytes, std::string_view what);
void UnmapTemporaryFile(void* memory, uint64_t bytes);

}  // namespace smelt
