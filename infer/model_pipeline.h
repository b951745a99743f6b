// A model opened on one backend or several: what takes ids through embedding, layers and head.
// Evaluation goes layer by layer with it (ModelRun), generation token by token (Session).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "infer/backend.h"
#include "infer/embedding.h"
#include "infer/lower.h"
#include "infer/placement.h"

namespace smelt {

/// The layer whose state a layer's program works on: its own, or that of the keys it attends to.
size_t StateOf(const ModelSpec& spec, size_t layer);

/// Ids must be in [0, vocabulary).
absl::Status CheckIds(std::span<const int32_t> ids, uint32_t vocabulary);

/// What computes a part of a model, and how.
struct Computer {
  Backend* backend = nullptr;
  WeightUse use = WeightUse::kStream;
  Precision precision = Precision::kF32;
};

class ModelPipeline {
 public:
  /// Everything but the layers, whose matrices will be loaded for the same use. `source` and the
  /// backends outlive it. Of two computers the first has the first `layers`, or as many as it has
  /// room for with keys and values kept as `cache`.
  static absl::StatusOr<std::unique_ptr<ModelPipeline>> Open(const ModelSource& source,
                                                             ModelSpec spec,
                                                             std::span<const Computer> computers,
                                                             std::optional<uint64_t> layers = {},
                                                             CacheType cache = CacheType::kF32);

  const ModelSource& source() const { return source_; }
  const ModelSpec& spec() const { return spec_; }
  const Head& head() const { return head_; }
  const Placement& placement() const { return placement_; }
  std::span<const Computer> computers() const { return computers_; }
  /// Of a layer.
  Backend& backend(size_t layer) const { return *computer(layer).backend; }
  /// Of the first layer: the only one, where there is one.
  Backend& backend() const { return *first_computer().backend; }

  /// A layer's operations, with the weights of `source`: the model's own, or one of the same
  /// tensors.
  absl::StatusOr<Graph> Layer(size_t layer, const ModelSource& source) const;
  absl::StatusOr<std::unique_ptr<Program>> Compile(size_t layer, Graph graph) const;

  /// Features of a token's per-layer inputs, with the scratch memory that making them needs; 0 for
  /// a model without.
  uint64_t input_features() const { return inputs_.features + inputs_.scratch; }
  /// Where they go; nullptr for a model without.
  absl::StatusOr<std::unique_ptr<Buffer>> NewInputs(const Batch& batch,
                                                    Place place = Place::kMemory) const {
    return NewInputs(backend(), batch, place);
  }

  /// x = the ids' embedding; `inputs` = their per-layer inputs. `state`: any.
  absl::Status Embed(Batch& batch, std::span<const int32_t> ids, State& state, Buffer& x,
                     Buffer* inputs) const;
  /// The norm before the logits, in place.
  absl::Status FinalNorm(Batch& batch, State& state, Buffer& x) const;
  /// As Backend::Logits, of x after the final norm.
  absl::Status Logits(const Batch& batch, const Buffer& x, std::span<const uint32_t> tokens,
                      std::span<float> logits) const;

 private:
  friend class Passage;
  /// Of models whose layers read more of a token than the stream.
  struct Inputs {
    Embedding table;
    uint32_t features = 0;
    uint64_t scratch = 0;
    std::unique_ptr<Program> program;
  };

  ModelPipeline(const ModelSource& source, ModelSpec spec, std::span<const Computer> computers)
      : source_(source), spec_(std::move(spec)), computers_(computers.begin(), computers.end()) {}
  size_t first() const { return placement_.layers.empty() ? 0 : placement_.layers[0]; }
  const Computer& computer(size_t layer) const { return computers_[placement_.layers[layer]]; }
  const Computer& first_computer() const { return computers_[first()]; }
  const Computer& head_computer() const { return computers_[placement_.head]; }
  absl::StatusOr<std::unique_ptr<Buffer>> NewInputs(Backend& backend, const Batch& batch,
                                                    Place place) const;
  absl::Status ChoosePlaces(std::optional<uint64_t> layers, CacheType cache);
  absl::Status OpenInputs();

  const ModelSource& source_;
  const ModelSpec spec_;
  const std::vector<Computer> computers_;
  Placement placement_;
  Embedding embedding_;
  Inputs inputs_;
  std::unique_ptr<Program> final_norm_;
  Head head_;
};

/// Tokens on their way through a pipeline: where layers change from one backend to another, the
/// stream moves.
class Passage {
 public:
  /// `length`: of Backend::NewBatch. The pipeline outlives it.
  static absl::StatusOr<std::unique_ptr<Passage>> Begin(const ModelPipeline& pipeline,
                                                        std::span<const Sequence> sequences,
                                                        uint64_t length);
  absl::Status Embed(std::span<const int32_t> ids);
  /// `state`: of the layer's backend.
  absl::Status RunLayer(size_t layer, const Program& program, State& state);
  /// Of some tokens, after the final norm, which changes the stream.
  absl::Status Logits(std::span<const uint32_t> tokens, std::span<float> logits);

 private:
  struct Part {
    std::unique_ptr<Batch> batch;
    std::unique_ptr<Buffer> x, inputs;
  };
  explicit Passage(const ModelPipeline& pipeline)
      : pipeline_(pipeline), parts_(pipeline.computers().size()) {}
  Part& here() { return parts_[at_]; }
  absl::Status Prepare(size_t backend);
  absl::Status MoveTo(size_t backend);
  absl::Status Carry(const Part& from, const Buffer& x, size_t backend, Buffer& to,
                     uint32_t features);

  const ModelPipeline& pipeline_;
  std::vector<Sequence> sequences_;
  uint64_t length_ = 0, tokens_ = 0;
  size_t at_ = 0;  ///< the backend that has the stream
  std::vector<Part> parts_;
};

}  // namespace smelt
