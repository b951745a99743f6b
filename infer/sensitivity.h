// How far a model's predictions move when some of its weights change.
//
// A text goes through the model layer by layer, and beside it a copy of its stream for each
// variant: a model that differs in weights of one stage. A copy leaves the text's own stream at the
// layer that its variant changes, and from there on runs with the model's own weights, which are
// read once for all of them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "infer/model_run.h"
#include "infer/score.h"
#include "infer/tap.h"
#include "infer/windows.h"
#include "smelt/observer.h"

namespace smelt {

/// A model with the same tensors; other values in some of them.
using Variants = std::span<const ModelSource* const>;

class Sensitivity {
 public:
  /// Bytes up to which streams are kept in memory; more of them lie in temporary files.
  static constexpr uint64_t kStreamsInMemory = 48ull << 20;

  /// `texts` are each text's ids, cut as Score() cuts them; all chunks make one batch. Of a chunk
  /// the positions from `skip` on count. `variants`: how many there will be, about. The model and
  /// the texts outlive this.
  static absl::StatusOr<std::unique_ptr<Sensitivity>> Open(
      const SpecifiedModel& model, const std::vector<std::vector<int32_t>>& texts,
      const ScoreOptions& options, uint64_t skip, size_t variants);

  uint64_t tokens() const { return ids_.size(); }
  size_t layers() const { return run_->spec().layers.size(); }

  /// The embedding; `variants` in what it reads (token and position embeddings, per-layer inputs).
  absl::Status Begin(Variants variants);
  /// Layer after layer, each once; `variants` in its weights. `tap` (or nullptr) sees the text's
  /// own inputs.
  absl::Status Step(size_t layer, Variants variants, Tap* tap);
  /// The head; `variants` in its weights. `tied`: of the variants of Begin, the one whose head
  /// changes with its embedding, and its source. Returns the mean KL divergence (nats) of the
  /// model's predictions to those of each variant, in the order in which they were given.
  struct Tied {
    size_t variant = 0;
    const ModelSource* source = nullptr;
  };
  absl::StatusOr<std::vector<double>> Finish(Variants variants, std::optional<Tied> tied);

 private:
  explicit Sensitivity(const ScoreOptions& options)
      : options_(options), backend_(NewCpuBackend()) {}
  absl::Status MakeTargets(uint64_t skip);
  absl::Status RunLayer(Stream& stream, size_t layer, Tap* tap, const ModelSource* variant);
  absl::Status NormAll();
  absl::Status AddLosses(std::span<const HeadInput> heads, std::vector<double>& out);

  const ScoreOptions options_;
  const std::unique_ptr<Backend> backend_;
  const ModelSource* source_ = nullptr;
  std::unique_ptr<ModelRun> run_;
  std::vector<Window> windows_;
  std::vector<int32_t> ids_;
  std::vector<Target> targets_;
  std::unique_ptr<Batch> batch_;
  Place place_ = Place::kMemory;
  Stream base_;
  std::vector<Stream> copies_;
};

}  // namespace smelt
