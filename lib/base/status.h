// Errors as values: one sentence that a person can act on, and a stable code for programs.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/base/cat.h"

namespace smelt {

/// The stable codes; `--json` prints CodeName() of them.
enum class ErrorCode {
  kInvalidInput,   ///< a file is malformed, damaged or contradicts itself
  kUnsupported,    ///< well formed, but nothing that we can do right
  kNotFound,       ///< a file, tensor or model that does not exist
  kAlreadyExists,  ///< an output that we will not overwrite
  kIo,             ///< the operating system failed a read or write
  kNoSpace,        ///< the disk (or quota) is full
  kOutOfMemory,    ///< an allocation failed
  kCancelled,      ///< interrupted; what was done can be resumed
  kGateMissed,     ///< the result exists but did not pass its validation
  kUsage,          ///< wrong arguments
  kInternal,       ///< a bug of ours
};

/// "invalid_input", "unsupported", ...
std::string_view CodeName(ErrorCode code);

/// An error whose sentence is the concatenation of `parts`. The sentence starts in lower case, has
/// no final full stop, names the file, tensor or key, says what was expected and what to try. Names
/// from files go through Escape().
absl::Status MakeError(ErrorCode code, std::string sentence);
template <typename... Parts>
absl::Status Error(ErrorCode code, const Parts&... parts) {
  return MakeError(code, Cat(parts...));
}

/// The code that MakeError attached; kInternal for a failed status without one.
ErrorCode CodeOf(const absl::Status& status);

/// The same error with `prefix` put before its sentence ("model.safetensors: " ...).
absl::Status Prefixed(std::string_view prefix, const absl::Status& status);

}  // namespace smelt

#define SMELT_CONCAT_INNER(a, b) a##b
#define SMELT_CONCAT(a, b) SMELT_CONCAT_INNER(a, b)

/// Returns from the function when `expr` (an absl::Status) is an error.
#define SMELT_RETURN_IF_ERROR(expr)                                                     \
  do {                                                                                  \
    if (absl::Status smelt_status_ = (expr); !smelt_status_.ok()) return smelt_status_; \
  } while (false)

/// `SMELT_ASSIGN_OR_RETURN(auto x, F());` where F returns absl::StatusOr.
#define SMELT_ASSIGN_OR_RETURN(lhs, expr) \
  SMELT_ASSIGN_OR_RETURN_INNER(SMELT_CONCAT(smelt_statusor_, __LINE__), lhs, expr)
#define SMELT_ASSIGN_OR_RETURN_INNER(tmp, lhs, expr) \
  auto tmp = (expr);                                 \
  if (!tmp.ok()) return tmp.status();                \
  lhs = std::move(tmp).value()
