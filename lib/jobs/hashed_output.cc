#include "lib/jobs/hashed_output.h"

#include <algorithm>

#include "lib/base/job_scope.h"
#include "lib/base/status.h"

namespace smelt {
namespace {

/// Stays in the processor's cache with what was just written.
constexpr uint64_t kPiece = 256 << 10;

}  // namespace

absl::Status HashedOutput::Written(uint64_t tile) {
  std::unique_lock lock(mutex_);
  done_[tile] = true;
  if (hashing_) return absl::OkStatus();
  hashing_ = true;
  absl::Status status;
  while (status.ok() && next_ < done_.size() && done_[next_]) {
    lock.unlock();
    const Tile hashed = plan_.TileAt(next_);
    status = HashUntil(hashed.offset + hashed.bytes + hashed.padding);
    lock.lock();
    ++next_;
  }
  hashing_ = false;
  return status;
}

absl::Status HashedOutput::Finish() {
  SMELT_RETURN_IF_ERROR(HashUntil(file_.size()));
  SMELT_ASSIGN_OR_RETURN(result_.identity, file_.Identity());
  result_.sha256 = sha_.FinishHex();
  return absl::OkStatus();
}

absl::Status HashedOutput::HashUntil(uint64_t end) {
  while (hashed_ < end) {
    SMELT_RETURN_IF_ERROR(GoOn());
    buffer_.resize(static_cast<size_t>(std::min(end - hashed_, kPiece)));
    SMELT_RETURN_IF_ERROR(file_.ReadAt(hashed_, buffer_));
    sha_.Update(buffer_);
    hashed_ += buffer_.size();
  }
  return absl::OkStatus();
}

}  // namespace smelt
