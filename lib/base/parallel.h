// The only place where threads start.
#pragma once

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"

namespace smelt {

/// Worker threads used by ParallelFor; 0 = as many as the process may use processors (UsableCores).
/// Call before work starts.
void SetThreads(int threads);
int Threads();

/// Threads that the system refused to start so far: the work is done with as many fewer, and the
/// observer of the job is told once.
int RefusedThreads();

/// Runs fn(begin, end) over [0, n) in pieces of at most `grain`, in any order, on Threads() threads
/// (the caller is one of them). The first error stops the handing out of further pieces and is
/// returned, kOutOfMemory where `fn` throws std::bad_alloc; so does a job that must stop (GoOn()).
/// Nested calls run serially. Dynamic: a slow piece does not hold up the others. Allocates nothing.
absl::Status ParallelFor(uint64_t n, uint64_t grain,
                         absl::FunctionRef<absl::Status(uint64_t, uint64_t)> fn);

/// The same for work that fails in no other way than by std::bad_alloc; also passes the worker's
/// number, 0 <= worker < Threads(), for scratch space.
absl::Status ParallelForWorkers(uint64_t n, uint64_t grain,
                                absl::FunctionRef<void(uint64_t, uint64_t, int)> fn);

}  // namespace smelt
