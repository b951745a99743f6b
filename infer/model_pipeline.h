// A model opened on a backend: what takes ids through embedding, layers and head. Evaluation goes
// layer by layer with it (ModelRun), generation token by token (Session).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "absl/status/statusor.h"
#include "infer/backend.h"
#include "infer/lower.h"

namespace smelt {

/// The layer whose state a layer's program works on: its own, or that of the keys it attends to.
size_t StateOf(const ModelSpec& spec, size_t layer);

/// Ids must be in [0, vocabulary).
absl::Status CheckIds(std::span<const int32_t> ids, uint32_t vocabulary);

class ModelPipeline {
 public:
  /// Everything but the layers, whose matrices will be loaded for `use` too. `source` and `backend`
  /// outlive it.
  static absl::StatusOr<std::unique_ptr<ModelPipeline>> Open(const ModelSource& source,
                                                             ModelSpec spec, WeightUse use,
                                                             Precision precision, Backend& backend);

  const ModelSource& source() const { return source_; }
  const ModelSpec& spec() const { return spec_; }
  const Head& head() const { return head_; }
  Backend& backend() const { return backend_; }

  /// A layer's operations, with the weights of `source`: the model's own, or one of the same
  /// tensors.
  absl::StatusOr<Graph> Layer(size_t layer, const ModelSource& source) const;
  absl::StatusOr<std::unique_ptr<Program>> Compile(Graph graph) const;

  /// Features of a token's per-layer inputs, with the scratch memory that making them needs; 0 for
  /// a model without.
  uint64_t input_features() const { return inputs_.features + inputs_.scratch; }
  /// Where they go; nullptr for a model without.
  absl::StatusOr<std::unique_ptr<Buffer>> NewInputs(const Batch& batch,
                                                    Place place = Place::kMemory) const;

  /// x = the ids' embedding; `inputs` = their per-layer inputs. `state`: any.
  absl::Status Embed(Batch& batch, std::span<const int32_t> ids, State& state, Buffer& x,
                     Buffer* inputs) const;
  /// The norm before the logits, in place.
  absl::Status FinalNorm(Batch& batch, State& state, Buffer& x) const;
  /// As Backend::Logits, of x after the final norm.
  absl::Status Logits(const Batch& batch, const Buffer& x, std::span<const uint32_t> tokens,
                      std::span<float> logits) const;

 private:
  /// Of models whose layers read more of a token than the stream.
  struct Inputs {
    WeightPtr table;
    float table_scale = 1;
    uint32_t features = 0;
    uint64_t scratch = 0;
    std::unique_ptr<Program> program;
  };

  ModelPipeline(const ModelSource& source, ModelSpec spec, WeightUse use, Precision precision,
                Backend& backend)
      : source_(source),
        spec_(std::move(spec)),
        use_(use),
        precision_(precision),
        backend_(backend) {}
  absl::Status OpenInputs();

  const ModelSource& source_;
  const ModelSpec spec_;
  const WeightUse use_;
  const Precision precision_;
  Backend& backend_;
  WeightPtr embedding_, positions_;
  Inputs inputs_;
  std::unique_ptr<Program> final_norm_;
  Head head_;
};

}  // namespace smelt
