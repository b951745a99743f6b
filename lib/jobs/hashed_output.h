// A conversion whose output is hashed while it is written, which costs no second reading of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/atomic_file.h"
#include "lib/base/hash.h"
#include "lib/jobs/plan.h"
#include "smelt/convert.h"
#include "smelt/observer.h"

namespace smelt {

/// SHA-256 of the file of a plan of one, whose tiles are written in any order: whoever has written
/// a tile hashes, unless another does at this moment, what is there without a gap by then.
/// Thread-safe.
class HashedOutput {
 public:
  /// `done`: tiles that were there before, by number.
  HashedOutput(const AtomicFile& file, const Plan& plan, std::vector<bool> done)
      : file_(file), plan_(plan), done_(std::move(done)) {}

  /// A tile was written. The header was before the first one.
  absl::Status Written(uint64_t tile);
  /// When all is written, before the file gets its name.
  absl::Status Finish();
  const FileHash& result() const { return result_; }

 private:
  absl::Status HashUntil(uint64_t end);

  const AtomicFile& file_;
  const Plan& plan_;
  std::mutex mutex_;
  std::vector<bool> done_;
  uint64_t next_ = 0;     ///< first tile that is not hashed
  bool hashing_ = false;  ///< somebody is: the members below are theirs
  Sha256 sha_;
  uint64_t hashed_ = 0;  ///< bytes
  FileHash result_;
  std::vector<std::byte> buffer_;
};

/// Convert, and the hash of what it wrote; empty where that is several files.
absl::StatusOr<ConvertResult> ConvertAndHash(const ConvertOptions& options,
                                             const Observer& observer, FileHash& hash);

}  // namespace smelt
