// Generation, token by token, with a cache.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "infer/backend.h"
#include "infer/score.h"
#include "infer/token_cost.h"
#include "lib/model/model_source.h"
#include "smelt/observer.h"

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
  /// `source` outlives the session; the cache grows with the sequence. `use`, of the processor:
  /// kResident, or kInterleaved for the price of weights kept twice. `on_device`: the precision
  /// there, where that is not the processor's.
  static absl::StatusOr<std::unique_ptr<Session>> Create(const ModelSource& source,
                                                         Precision precision,
                                                         const DeviceOptions& device = {},
                                                         WeightUse use = WeightUse::kResident,
                                                         std::optional<Precision> on_device = {});
  static absl::StatusOr<std::unique_ptr<Session>> Create(const SpecifiedModel& model,
                                                         Precision precision,
                                                         const DeviceOptions& device = {},
                                                         WeightUse use = WeightUse::kResident,
                                                         std::optional<Precision> on_device = {});
  virtual uint32_t vocabulary() const = 0;
  virtual const TokenCost& token_cost() const = 0;
  /// Of the weights that are kept in another order too.
  virtual uint64_t interleaved_bytes() const = 0;
  virtual CommandCounts counts() const = 0;  ///< of its device, so far
  /// Layers that run on another device than the processor; empty: there is none.
  virtual std::optional<uint64_t> device_layers() const = 0;
  virtual uint64_t layers() const = 0;
  /// In which layers and output matrix are computed; of a device, then of the processor.
  virtual std::vector<Precision> precisions() const = 0;
  /// Appends ids to the sequence; on return `logits` holds those of the last one. `observer` sees
  /// how far it is and may cancel it. After an error the sequence and `logits` are what they were.
  /// A model with recurrent states cannot always go back: then CheckWhole() fails, and so does
  /// every Feed until Restore.
  virtual absl::Status Feed(std::span<const int32_t> ids, std::vector<float>& logits,
                            const Observer& observer = {}) = 0;
  /// kUsage when an error has left the sequence half fed.
  virtual absl::Status CheckWhole() const = 0;
  virtual std::unique_ptr<SessionState> Save() const = 0;
  /// kUsage when the state is another model's, or was saved of a sequence that was half fed.
  virtual absl::Status Restore(const SessionState& state) = 0;
};

}  // namespace smelt
