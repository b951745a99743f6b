// What a conversion needs of memory, told before it begins.
#pragma once

#include <cstdint>

#include "lib/jobs/plan.h"
#include "smelt/convert.h"

namespace smelt {

/// Anonymous memory, in bytes, that filling the plan with `threads` workers and checking the result
/// takes: the header, and tiles in flight or the activations of a batch, whichever is more. An
/// estimate.
uint64_t EstimateMemory(const Plan& plan, int threads, const ConvertOptions& options);

}  // namespace smelt
