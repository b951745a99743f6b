// Generation, token by token, with a cache.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "infer/score.h"
#include "lib/model/model_source.h"

namespace smelt {

/// Keys, values and recurrent states of one sequence. Copyable: a long prompt processed once, many
/// continuations.
class SessionState {
 public:
  virtual ~SessionState() = default;
  virtual std::unique_ptr<SessionState> Copy() const = 0;
  virtual uint64_t positions() const = 0;
};

class Session {
 public:
  virtual ~Session() = default;
  /// `source` outlives the session. `max_positions`: room to reserve; the cache grows with the
  /// sequence.
  static absl::StatusOr<std::unique_ptr<Session>> Create(const ModelSource& source,
                                                         Activations activations,
                                                         uint64_t max_positions);
  static absl::StatusOr<std::unique_ptr<Session>> Create(const SpecifiedModel& model,
                                                         Activations activations,
                                                         uint64_t max_positions);
  virtual uint32_t vocabulary() const = 0;
  /// Appends ids to the sequence; on return `logits` holds those of the last one.
  virtual absl::Status Feed(std::span<const int32_t> ids, std::vector<float>& logits) = 0;
  virtual std::unique_ptr<SessionState> Save() const = 0;
  virtual absl::Status Restore(const SessionState& state) = 0;
};

}  // namespace smelt
