#include "lib/base/system_error.h"

#include <cerrno>
#include <cstring>

#include "lib/base/status.h"

namespace smelt {

std::string SystemReason(int error) {
  const std::string reason = std::strerror(error);
  return error == EMFILE ? reason + "; allow more with `ulimit -n 4096`" : reason;
}

absl::Status SystemError(std::string_view path, std::string_view what, int error,
                         std::string_view when_full) {
  const bool full = error == ENOSPC || error == EDQUOT;
  return Error(full ? ErrorCode::kNoSpace : ErrorCode::kIo, Escape(path), ": ", what, ": ",
               SystemReason(error), full ? when_full : "");
}

}  // namespace smelt
