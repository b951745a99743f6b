// How fast memory is read.
#pragma once

#include "absl/status/statusor.h"

namespace smelt {

/// Bytes a second that Threads() threads read of memory far larger than caches: the best of some
/// passes. kOutOfMemory where there are no 512 MiB for it.
absl::StatusOr<double> ReadBandwidth();

}  // namespace smelt
