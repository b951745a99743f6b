// Score() as an open loop, for those who do something between layers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "infer/score.h"
#include "smelt/observer.h"

namespace smelt {

/// While more(): Begin, Step for each layer, Finish; each round takes a batch of chunks through all
/// models. Models and texts outlive it.
class Evaluation {
 public:
  virtual ~Evaluation() = default;
  /// One model or several with the same vocabulary, each compared with the reference (which may be
  /// nullptr), which runs once.
  static absl::StatusOr<std::unique_ptr<Evaluation>> Open(
      std::span<const SpecifiedModel> models, const SpecifiedModel* reference,
      const std::vector<std::vector<int32_t>>& texts, const ScoreOptions& options,
      const Observer& observer);

  /// Layers of the deepest model.
  virtual size_t layers() const = 0;
  virtual bool more() const = 0;
  /// The next batch's embedding.
  virtual absl::Status Begin() = 0;
  virtual absl::Status Step(size_t layer) = 0;
  /// Its losses.
  virtual absl::Status Finish() = 0;
  /// Between steps: frees what only they need.
  virtual void Trim() = 0;
  /// Begin to Finish.
  absl::Status Round();
  /// Once there are no more: of each model.
  virtual absl::StatusOr<std::vector<ScoreResult>> Results() = 0;
};

}  // namespace smelt
