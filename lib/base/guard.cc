#include "lib/base/guard.h"

#include <exception>
#include <new>
#include <stdexcept>

#include "lib/base/status.h"

namespace smelt {
namespace {

const absl::Status* const out_of_memory = new absl::Status(MakeError(
    ErrorCode::kOutOfMemory,
    "out of memory; try fewer --threads, or allow the program more (ulimit -d, ulimit -v, "
    "the container's limit)"));

}  // namespace

const absl::Status& OutOfMemory() { return *out_of_memory; }

absl::Status CaughtError() noexcept {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    return OutOfMemory();
  } catch (const std::length_error&) {  // a container longer than any memory
    return OutOfMemory();
  } catch (const std::exception& error) {
    return Guarded(
        [&] { return Error(ErrorCode::kInternal, "unexpected failure: ", error.what()); });
  } catch (...) {
    return Guarded([] { return Error(ErrorCode::kInternal, "unexpected failure"); });
  }
}

}  // namespace smelt
