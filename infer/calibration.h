// A text's way through a model while somebody watches what goes into its weights: all of it through
// one layer, then through the next. So each weight is read once, however long the text is, and what
// is known of a layer is complete before the next one begins.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "infer/model_run.h"
#include "infer/score.h"
#include "infer/tap.h"
#include "infer/windows.h"
#include "smelt/observer.h"

namespace smelt {

class Calibration {
 public:
  /// Bytes up to which what the chunks carry from layer to layer is kept in memory.
  static constexpr uint64_t kStreamsInMemory = 48ull << 20;

  /// `texts` are each text's ids, cut as Score() cuts them; every position of a chunk counts. The
  /// model and the texts outlive this. What the chunks carry from layer to layer goes to a
  /// temporary file where it is more than `in_memory` bytes.
  static absl::StatusOr<std::unique_ptr<Calibration>> Open(
      const SpecifiedModel& model, const std::vector<std::vector<int32_t>>& texts,
      const ScoreOptions& options, const Observer& observer, uint64_t in_memory = kStreamsInMemory);

  uint64_t tokens() const { return tokens_; }
  uint64_t chunks() const { return windows_.size(); }
  size_t layers() const { return run_->spec().layers.size(); }

  /// The embedding.
  absl::Status Begin();
  /// Layer after layer, each once. `tap` may be nullptr.
  absl::Status Step(size_t layer, Tap* tap);
  /// The final norm; `tap` is told what the output matrix reads.
  absl::Status Finish(Tap* tap);

 private:
  /// Chunks that go through a layer together, and what they carry from layer to layer.
  struct Part {
    std::span<const Window> windows;
    Stream stream;
  };

  Calibration(const ScoreOptions& options, const Observer& observer)
      : options_(options), observer_(observer) {}
  absl::Status MakeParts(uint64_t in_memory);
  absl::StatusOr<Batch*> BatchFor(const Part& part);
  /// f(batch) for every part, whose stream the run has meanwhile.
  template <typename F>
  absl::Status ForParts(const F& f);
  void Report(double tokens);

  const ScoreOptions options_;
  const Observer& observer_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<ModelRun> run_;
  std::vector<Window> windows_;
  std::vector<Part> parts_;
  std::unique_ptr<Batch> batch_;
  std::vector<uint64_t> batch_lengths_;  ///< of the windows of batch_
  uint64_t tokens_ = 0;
  size_t layers_done_ = 0;
};

}  // namespace smelt
