// Where exceptions end: memory that ran out becomes a status.
#pragma once

#include <type_traits>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace smelt {

/// kOutOfMemory with a sentence that was made when the program started: returning it allocates
/// nothing.
const absl::Status& OutOfMemory();

/// What the exception being handled means. Only inside of a catch block.
absl::Status CaughtError() noexcept;

/// The status (or value) of `work`. An allocation that fails anywhere in it is thrown as
/// std::bad_alloc, releases what it passes, and becomes OutOfMemory() here.
template <typename Work>
std::invoke_result_t<Work> Guarded(const Work& work) {
  try {
    return work();
  } catch (...) {
    return CaughtError();
  }
}

}  // namespace smelt
