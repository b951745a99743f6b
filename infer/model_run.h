// One model taken through its layers, one layer at a time.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <utility>

#include "absl/status/statusor.h"
#include "infer/backend.h"
#include "infer/model_pipeline.h"

namespace smelt {

/// What a batch carries from layer to layer.
struct Stream {
  size_t sequences = 0;
  std::unique_ptr<Buffer> x;       ///< the residual stream
  std::unique_ptr<Buffer> inputs;  ///< the per-layer inputs, of models that have them
  std::map<size_t, std::unique_ptr<State>> shared;  ///< of layers that later ones attend to
};

absl::StatusOr<Stream> CopyStream(const Stream& stream, Place place);

/// Everything of a model that lives as long as its evaluation. Layers are compiled when their turn
/// comes and forgotten after.
class ModelRun {
 public:
  static absl::StatusOr<std::unique_ptr<ModelRun>> Create(const ModelSource& source, ModelSpec spec,
                                                          Precision precision, Backend& backend,
                                                          CacheType cache = CacheType::kF32);

  const ModelSpec& spec() const { return pipeline_->spec(); }
  const Head& head() const { return pipeline_->head(); }
  Buffer& x() { return *x_; }
  /// Bytes of activations and state that one token of a batch needs, besides scratch that models
  /// share.
  uint64_t scratch_bytes_per_token() const { return scratch_bytes_; }
  /// Of these: the layers' own keys and values, which models do not share.
  uint64_t state_bytes_per_token() const { return state_bytes_; }
  /// Bytes of a token in a Stream.
  uint64_t stream_bytes_per_token() const { return stream_bytes_; }

  absl::StatusOr<Stream> NewStream(const Batch& batch, size_t sequences,
                                   Place place = Place::kMemory);
  /// What the functions below work on, until it is taken.
  void SetStream(Stream stream);
  Stream TakeStream();
  /// Sets a new stream for a kind of batch.
  absl::Status Allocate(const Batch& batch, size_t sequences);
  absl::Status Embed(Batch& batch, std::span<const int32_t> ids);
  /// Does nothing past the last layer. `tap`: of Backend::Run. `variant`: a model of the same
  /// tensors whose weights the layer runs with instead, or nullptr.
  absl::Status RunLayer(size_t layer, Batch& batch, Tap* tap = nullptr,
                        const ModelSource* variant = nullptr);
  absl::Status RunFinalNorm(Batch& batch);

 private:
  absl::StatusOr<std::unique_ptr<Program>> CompileLayer(size_t layer, const ModelSource& source);
  ModelRun(std::unique_ptr<ModelPipeline> pipeline, CacheType cache)
      : pipeline_(std::move(pipeline)), cache_(cache) {}

  const std::unique_ptr<ModelPipeline> pipeline_;
  const CacheType cache_;
  std::unique_ptr<Buffer> x_, inputs_;
  size_t sequences_ = 0;
  std::unique_ptr<State> state_;  ///< of the layer at hand, for so many sequences
  std::map<size_t, std::unique_ptr<State>> shared_;
  std::unique_ptr<Program> program_;  ///< of the layer at hand
  size_t program_layer_ = 0;
  uint64_t scratch_bytes_ = 0, stream_bytes_ = 0, state_bytes_ = 0;
};

}  // namespace smelt
