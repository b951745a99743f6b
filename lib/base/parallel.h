// The only place where threads start.
#pragma once

#include <cstdint>
#include <functional>

#include "absl/status/status.h"

namespace smelt {

/// Worker threads used by ParallelFor; 0 = all cores that the process may use. Call before work
/// starts.
void SetThreads(int threads);
int Threads();

/// Runs fn(begin, end) over [0, n) in pieces of at most `grain`, in any order, on Threads() threads
/// (the caller is one of them). The first error stops the handing out of further pieces and is
/// returned; so does a job that must stop (GoOn()). Nested calls run serially. Dynamic: a slow
/// piece does not hold up the others. `fn` must not throw.
absl::Status ParallelFor(uint64_t n, uint64_t grain,
                         const std::function<absl::Status(uint64_t, uint64_t)>& fn);

/// The same for work that cannot fail; also passes the worker's number, 0 <= worker < Threads(),
/// for scratch space.
void ParallelForWorkers(uint64_t n, uint64_t grain,
                        const std::function<void(uint64_t, uint64_t, int)>& fn);

}  // namespace smelt
