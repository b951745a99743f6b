// What a conversion needs of memory, told before it begins.
#pragma once

#include <cstdint>
#include <span>

#include "lib/jobs/plan.h"
#include "smelt/convert.h"

namespace smelt {

/// Anonymous memory, in bytes, that filling plans of one source with `threads` workers and checking
/// the results takes, and measuring for a size to order: the headers, and tiles in flight or the
/// activations of a batch, whichever is more. An estimate.
uint64_t EstimateMemory(std::span<const Plan* const> plans, int threads,
                        const ConvertOptions& options);

inline uint64_t EstimateMemory(const Plan& plan, int threads, const ConvertOptions& options) {
  const Plan* const one = &plan;
  return EstimateMemory(std::span(&one, 1), threads, options);
}

}  // namespace smelt
