// What belongs to the process rather than to a job.
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "smelt/export.h"

namespace smelt {

/// Worker threads of all jobs; 0 (the default) = every core that the process may use, by its
/// affinity and the quotas of its control groups. Call before a job starts. Where the system gives
/// fewer, jobs go on with these and say so in a note.
SMELT_EXPORT void UseThreads(int threads);

/// Models are mapped into memory. When a file shrinks underneath, the system ends the process with
/// SIGBUS as soon as a lost page is read. After this call such a page reads as zeros, and every job
/// that runs meanwhile fails with "io" and the file's name. It installs a handler of SIGBUS; faults
/// elsewhere go on to the handler that was there before. The library never does so by itself.
SMELT_EXPORT void SurviveShrinkingFiles();

/// The stable code of a failed job: "invalid_input", "unsupported", "not_found", "already_exists",
/// "io", "no_space", "out_of_memory", "cancelled", "gate_missed", "usage", "internal".
SMELT_EXPORT std::string_view ErrorName(const absl::Status& status);

}  // namespace smelt
