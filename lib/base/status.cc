#include "lib/base/status.h"

#include <array>

#include "absl/strings/cord.h"

namespace smelt {
namespace {

constexpr char kPayloadUrl[] = "smelt/code";

struct CodeEntry {
  ErrorCode code;
  std::string_view name;
  absl::StatusCode status;
};

constexpr std::array kCodes = {
    CodeEntry{ErrorCode::kInvalidInput, "invalid_input", absl::StatusCode::kInvalidArgument},
    CodeEntry{ErrorCode::kUnsupported, "unsupported", absl::StatusCode::kUnimplemented},
    CodeEntry{ErrorCode::kNotFound, "not_found", absl::StatusCode::kNotFound},
    CodeEntry{ErrorCode::kAlreadyExists, "already_exists", absl::StatusCode::kAlreadyExists},
    CodeEntry{ErrorCode::kIo, "io", absl::StatusCode::kUnavailable},
    CodeEntry{ErrorCode::kNoSpace, "no_space", absl::StatusCode::kResourceExhausted},
    CodeEntry{ErrorCode::kOutOfMemory, "out_of_memory", absl::StatusCode::kResourceExhausted},
    CodeEntry{ErrorCode::kCancelled, "cancelled", absl::StatusCode::kCancelled},
    CodeEntry{ErrorCode::kGateMissed, "gate_missed", absl::StatusCode::kFailedPrecondition},
    CodeEntry{ErrorCode::kUsage, "usage", absl::StatusCode::kInvalidArgument},
    CodeEntry{ErrorCode::kInternal, "internal", absl::StatusCode::kInternal},
};

const CodeEntry& Entry(ErrorCode code) {
  for (const CodeEntry& entry : kCodes) {
    if (entry.code == code) return entry;
  }
  return kCodes.back();
}

}  // namespace

std::string_view CodeName(ErrorCode code) { return Entry(code).name; }

absl::Status MakeError(ErrorCode code, std::string sentence) {
  const CodeEntry& entry = Entry(code);
  absl::Status status(entry.status, sentence);
  status.SetPayload(kPayloadUrl,
                    absl::Cord(absl::string_view(entry.name.data(), entry.name.size())));
  return status;
}

ErrorCode CodeOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kPayloadUrl);
  if (payload.has_value()) {
    for (const CodeEntry& entry : kCodes) {
      if (*payload == absl::string_view(entry.name.data(), entry.name.size())) return entry.code;
    }
  }
  return ErrorCode::kInternal;
}

absl::Status Prefixed(std::string_view prefix, const absl::Status& status) {
  if (status.ok()) return status;
  return MakeError(CodeOf(status), Cat(prefix, std::string(status.message())));
}

}  // namespace smelt
