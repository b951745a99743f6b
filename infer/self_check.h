// Whether a backend computes what the processor does.
#pragma once

#include "absl/status/status.h"
#include "infer/backend.h"

namespace smelt {

/// Runs a small layer and its losses on the backend and on the processor, and compares: products of
/// some block formats with many inputs and with one, a long sum, norm, rotation, attention with a
/// cache, softmax; sizes that fill no workgroup. kUnsupported where the results differ by more than
/// rounding, and what the backend says where it fails.
absl::Status CheckBackend(Backend& backend, Precision precision = Precision::kF32);

}  // namespace smelt
