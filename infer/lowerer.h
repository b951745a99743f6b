// How a LayerSpec becomes a graph: what the parts of infer/lower*.cc share.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <utility>
#include <variant>

#include "absl/status/statusor.h"
#include "infer/backend.h"
#include "infer/graph.h"
#include "lib/model/layer_spec.h"

namespace smelt {

/// Lists the operations of one program, and lays their buffers out in its scratch memory: a buffer
/// lives until `top_` is set back.
class Lowerer {
 public:
  Lowerer(const ModelSpec& spec, const ModelSource& source, WeightUse use, Backend& backend);

  /// Block `number` of the model.
  absl::Status Layer(const LayerSpec& layer, uint32_t number);
  /// The stream is the embedding, the inputs hold the scaled rows of the table.
  absl::Status Inputs(const PerLayerInputs& inputs);
  absl::Status AddNorm(const Norm& norm, Slot in, Slot out, uint32_t features, bool add);
  absl::StatusOr<Matrix> Lower(const Linear& linear);
  /// Of a matrix whose products are made from the rows as they lie.
  absl::StatusOr<Matrix> LowerInPlace(const Linear& linear);
  absl::StatusOr<Matrix> Lower(const Linear& linear, WeightUse use);

  Graph Take() { return std::move(graph_); }

 private:
  // Blocks: lower.cc.
  absl::Status MixAndFeed(const LayerSpec& layer);
  absl::Status AddInput(const LayerInput& input, uint32_t number);
  /// The mixer's input; `reuse` features are wanted there afterwards.
  absl::StatusOr<Slot> MixerInput(const LayerSpec& layer, uint32_t reuse, Slot& scratch);
  /// x += linear(in), or x += norm(linear(in)).
  absl::Status AddToStream(const Linear& linear, Slot in, const Norm& post);
  /// x += scale delta, or x += scale norm(delta).
  absl::Status AddDelta(Slot delta, const Norm& post);
  absl::Status Multiply(const Linear& linear, Slot in, Slot out, Store store = Store::kSet,
                        Activation activation = Activation::kSilu);
  /// Where rows of a turn go: `count` of each to the features of `out` from `first` on.
  struct Share {
    Slot out;
    uint32_t first, count;
  };
  /// The product's rows by turns, in each so many for every share.
  absl::Status MultiplySplit(const Linear& linear, Slot in, uint32_t turns,
                             std::initializer_list<Share> shares);
  /// Rows [first, first + rows) of a fused product.
  static Linear Part(const Linear& whole, uint64_t first, uint64_t rows);
  absl::StatusOr<WeightPtr> Values(TensorRef t);
  Slot NewSlot(uint32_t features);
  const smelt::Shape& Shape(TensorRef t) const;

  // Mixers: lower_attention.cc, lower_recurrent.cc.
  absl::Status Mixer(const LayerSpec&, std::monostate) { return absl::OkStatus(); }
  absl::Status Mixer(const LayerSpec& layer, const Attention& a);
  absl::Status Mixer(const LayerSpec& layer, const LatentAttention& a);
  absl::Status Mixer(const LayerSpec& layer, const Mamba1& m);
  absl::Status Mixer(const LayerSpec& layer, const Mamba2& m);
  absl::Status Mixer(const LayerSpec& layer, const DeltaNet& d);
  absl::Status Mixer(const LayerSpec& layer, const ShortConvolution& c);
  /// Keys, not yet normalised, and values.
  absl::Status KeysAndValues(const Attention& a, Slot in, Slot k, Slot v);
  /// Rotated values come first, where RopeOp looks for them.
  absl::Status LatentKey(const LatentAttention& a, Slot in, Slot k);
  absl::Status LatentQuery(const LatentAttention& a, Slot in, Slot q);
  void AddTemperature(Slot x, uint32_t features, double temperature, uint64_t length);
  absl::Status AddConvolution(Slot x, TensorRef weight, TensorRef bias, uint32_t channels,
                              uint32_t taps, bool plain = false);

  // Feed-forward parts: lower_feed.cc.
  /// What the rows of mlp.down read.
  absl::StatusOr<Slot> Hidden(const Mlp& mlp, Slot in);
  absl::Status Feed(const LayerSpec& layer, const Mlp& mlp, Slot in);
  absl::Status Feed(const LayerSpec& layer, const Experts& e, Slot in);
  absl::Status FeedBoth(const LayerSpec& layer);
  /// Experts between two projections; the shared one is an MLP like any other.
  absl::Status FeedLatent(const LayerSpec& layer, const Experts& e, Slot in);
  absl::Status AddExperts(const Experts& e, Slot in, Slot out, bool add);
  /// Without what is always on.
  absl::StatusOr<ExpertsOp> ChosenExperts(const Experts& e, Slot in);

  const uint32_t width_, inputs_;
  const ModelSource& source_;
  const WeightUse use_;
  Backend& backend_;
  Graph graph_;
  uint64_t top_ = 0;  // scratch features in use
  const Norm* parallel_ffn_ = nullptr;
  Slot parallel_in_ = 0;
  Slot shared_in_ = 0;  // what the mixer reads where it shares its norm, 0 = its own
  float residual_scale_ = 1;
};

}  // namespace smelt
