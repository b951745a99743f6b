#include "infer/lower.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "lib/base/status.h"

namespace smelt {
namespace {

class Lowerer {
 public:
  Lowerer(uint32_t width, const ModelSource& source, WeightUse use, Backend& backend)
      : width_(width), source_(source), use_(use), backend_(backend) {
    graph_.slots.push_back({width, 0});
  }

  absl::Status Layer(const LayerSpec& layer) {
    Slot ffn_in = 0;
    const uint64_t start = top_;
    residual_scale_ = static_cast<float>(layer.residual_scale);
    if (layer.parallel) {
      // Both halves read the block's input: this one must be taken before the other half changes
      // it.
      ffn_in = NewSlot(width_);
      if (layer.ffn_norm.present()) {
        parallel_ffn_ = &layer.ffn_norm;
      } else {
        SMELT_RETURN_IF_ERROR(AddNorm(layer.mixer_norm, 0, ffn_in, width_, false));
        shared_in_ = ffn_in;
      }
    }
    parallel_in_ = ffn_in;
    const bool two = !std::holds_alternative<std::monostate>(layer.beside);
    if (two && shared_in_ == 0) {
      shared_in_ = NewSlot(width_);
      SMELT_RETURN_IF_ERROR(AddNorm(layer.mixer_norm, 0, shared_in_, width_, false));
    }
    const uint64_t mixer_start = top_;
    for (const smelt::Mixer* mixer : {&layer.mixer, &layer.beside}) {
      top_ = mixer_start;
      SMELT_RETURN_IF_ERROR(
          std::visit([&](const auto& kind) { return Mixer(layer, kind); }, *mixer));
    }
    if (std::holds_alternative<std::monostate>(layer.ffn)) return absl::OkStatus();
    top_ = layer.parallel ? mixer_start : start;
    if (!layer.parallel && layer.ffn_norm.present()) {
      ffn_in = NewSlot(width_);
      SMELT_RETURN_IF_ERROR(AddNorm(layer.ffn_norm, 0, ffn_in, width_, false));
    }
    if (const Mlp* mlp = std::get_if<Mlp>(&layer.ffn)) return Feed(layer, *mlp, ffn_in);
    return Feed(layer, std::get<Experts>(layer.ffn), ffn_in);
  }

  absl::Status AddNorm(const Norm& norm, Slot in, Slot out, uint32_t features, bool add) {
    NormOp op{.in = in,
              .out = out,
              .kind = norm.kind,
              .epsilon = static_cast<float>(norm.epsilon),
              .features = features,
              .weights = features,
              .add = add};
    op.group = norm.group == 0 ? features : static_cast<uint32_t>(norm.group);
    if (norm.weight != kNoTensor) {
      op.weights = static_cast<uint32_t>(Shape(norm.weight).elements());
      SMELT_ASSIGN_OR_RETURN(op.weight, Values(norm.weight));
    }
    SMELT_ASSIGN_OR_RETURN(op.bias, Values(norm.bias));
    if (op.group == 0 || features % op.group != 0 || op.weights == 0 || features % op.weights != 0)
      return Error(ErrorCode::kUnsupported, "a norm over groups of ", op.group, " of ", features,
                   " values");
    graph_.ops.push_back(std::move(op));
    return absl::OkStatus();
  }

  absl::StatusOr<Matrix> Lower(const Linear& linear) {
    Matrix m;
    if (!linear.present()) return m;
    const smelt::Shape& shape = Shape(linear.weight);
    m.columns = static_cast<uint32_t>(shape.columns());
    m.expert_rows = shape.ne[1];
    m.first_row = linear.first_row;
    m.rows = static_cast<uint32_t>(linear.rows == 0 ? shape.ne[1] - linear.first_row : linear.rows);
    if (shape.columns() > std::numeric_limits<uint32_t>::max() ||
        linear.first_row + m.rows > shape.ne[1])
      return Error(ErrorCode::kInternal, "rows of a fused tensor beyond its end");
    SMELT_ASSIGN_OR_RETURN(m.weight, backend_.LoadWeight(source_, linear.weight, use_));
    SMELT_ASSIGN_OR_RETURN(m.bias, Values(linear.bias));
    return m;
  }

  Graph Take() { return std::move(graph_); }

 private:
  const smelt::Shape& Shape(TensorRef t) const {
    return source_.tensors()[static_cast<size_t>(t)].shape;
  }

  absl::StatusOr<WeightPtr> Values(TensorRef t) {
    if (t == kNoTensor) return WeightPtr();
    return backend_.LoadWeight(source_, t, WeightUse::kValues);
  }

  Slot NewSlot(uint32_t features) {
    graph_.slots.push_back({features, top_});
    top_ += features;
    graph_.scratch_features = std::max(graph_.scratch_features, top_);
    return static_cast<Slot>(graph_.slots.size() - 1);
  }

  absl::Status Multiply(const Linear& linear, Slot in, Slot out, Store store = Store::kSet,
                        Activation activation = Activation::kSilu) {
    MatMulOp op{.in = in, .out = out, .store = store, .activation = activation};
    SMELT_ASSIGN_OR_RETURN(op.matrix, Lower(linear));
    graph_.ops.push_back(std::move(op));
    return absl::OkStatus();
  }

  // Rows [first, first + rows) of a fused product.
  static Linear Part(const Linear& whole, uint64_t first, uint64_t rows) {
    Linear part = whole;
    part.first_row += first;
    part.rows = rows;
    return part;
  }

  // x += linear(in), or x += norm(linear(in)).
  absl::Status AddToStream(const Linear& linear, Slot in, const Norm& post) {
    if (parallel_ffn_ != nullptr) {
      SMELT_RETURN_IF_ERROR(
          AddNorm(*std::exchange(parallel_ffn_, nullptr), 0, parallel_in_, width_, false));
    }
    if (!post.present() && residual_scale_ == 1) return Multiply(linear, in, 0, Store::kAdd);
    const Slot delta = NewSlot(width_);
    SMELT_RETURN_IF_ERROR(Multiply(linear, in, delta));
    return AddDelta(delta, post);
  }

  // x += scale delta, or x += scale norm(delta).
  absl::Status AddDelta(Slot delta, const Norm& post) {
    if (residual_scale_ == 1) return AddNorm(post, delta, 0, width_, true);
    if (post.present()) SMELT_RETURN_IF_ERROR(AddNorm(post, delta, delta, width_, false));
    graph_.ops.push_back(
        AddOp{.in = delta, .out = 0, .features = width_, .scale = residual_scale_});
    return absl::OkStatus();
  }

  // The mixer's input; `reuse` features are wanted there afterwards.
  absl::StatusOr<Slot> MixerInput(const LayerSpec& layer, uint32_t reuse, Slot& scratch) {
    scratch = NewSlot(std::max(width_, reuse));
    if (shared_in_ != 0) return shared_in_;
    if (!layer.mixer_norm.present()) return Slot{0};
    SMELT_RETURN_IF_ERROR(AddNorm(layer.mixer_norm, 0, scratch, width_, false));
    return scratch;
  }

  absl::Status Mixer(const LayerSpec&, std::monostate) { return absl::OkStatus(); }

  absl::Status Mixer(const LayerSpec& layer, const Attention& a) {
    const uint32_t q_features = a.heads * a.key_size, k_features = a.kv_heads * a.key_size;
    const uint32_t v_features = a.kv_heads * a.value_size, out_features = a.heads * a.value_size;
    Slot mixed = 0;
    SMELT_ASSIGN_OR_RETURN(const Slot in, MixerInput(layer, out_features, mixed));
    const Slot q = NewSlot(q_features), k = NewSlot(k_features), v = NewSlot(v_features);
    SMELT_RETURN_IF_ERROR(Multiply(a.q, in, q));
    SMELT_RETURN_IF_ERROR(Multiply(a.k, in, k));
    SMELT_RETURN_IF_ERROR(Multiply(a.v, in, v));
    const auto normalize = [&]() -> absl::Status {
      if (a.q_norm.present()) SMELT_RETURN_IF_ERROR(AddNorm(a.q_norm, q, q, q_features, false));
      if (a.k_norm.present()) SMELT_RETURN_IF_ERROR(AddNorm(a.k_norm, k, k, k_features, false));
      return absl::OkStatus();
    };
    if (!a.norm_after_rope) SMELT_RETURN_IF_ERROR(normalize());
    if (a.rope.style != RopeStyle::kNone) {
      graph_.ops.push_back(RopeOp{.q = q,
                                  .k = k,
                                  .rope = a.rope,
                                  .heads = a.heads,
                                  .kv_heads = a.kv_heads,
                                  .head_size = a.key_size});
    }
    if (a.norm_after_rope) SMELT_RETURN_IF_ERROR(normalize());
    AddTemperature(q, q_features, a.temperature, a.temperature_length);
    AttentionOp op{.q = q,
                   .k = k,
                   .v = v,
                   .out = mixed,
                   .heads = a.heads,
                   .kv_heads = a.kv_heads,
                   .key_size = a.key_size,
                   .value_size = a.value_size,
                   .scale = static_cast<float>(a.scale),
                   .softcap = static_cast<float>(a.softcap),
                   .window = a.window,
                   .causal = a.causal};
    SMELT_ASSIGN_OR_RETURN(op.sinks, Values(a.sinks));
    graph_.ops.push_back(std::move(op));
    graph_.state_per_token = k_features + v_features;
    return AddToStream(a.output, mixed, layer.post_mixer_norm);
  }

  // The query of the first rotated, then latent values of a head, and the key likewise: rotated
  // values come first, where RopeOp looks for them.
  absl::Status Mixer(const LayerSpec& layer, const LatentAttention& a) {
    const uint32_t head = a.plain_size + a.rope_size, key = a.rope_size + a.rank;
    Slot mixed = 0;
    SMELT_ASSIGN_OR_RETURN(const Slot in, MixerInput(layer, a.heads * a.value_size, mixed));
    const Slot query = NewSlot(a.heads * key), k = NewSlot(key);
    const uint64_t start = top_;
    SMELT_RETURN_IF_ERROR(LatentKey(a, in, k));
    top_ = start;
    const Slot q = NewSlot(a.heads * head);
    SMELT_RETURN_IF_ERROR(LatentQuery(a, in, q));
    graph_.ops.push_back(CopyOp{.in = q,
                                .out = query,
                                .groups = a.heads,
                                .in_stride = head,
                                .in_first = a.plain_size,
                                .out_stride = key,
                                .count = a.rope_size});
    HeadMatMulOp absorb{.in = q,
                        .out = query,
                        .heads = a.heads,
                        .in_stride = head,
                        .out_stride = key,
                        .out_first = a.rope_size};
    SMELT_ASSIGN_OR_RETURN(absorb.matrix, Lower(a.k_b));
    graph_.ops.push_back(std::move(absorb));
    graph_.ops.push_back(RopeOp{
        .q = query, .k = k, .rope = a.rope, .heads = a.heads, .kv_heads = 1, .head_size = key});
    AddTemperature(query, a.heads * key, a.temperature, a.temperature_length);
    top_ = start;
    const Slot latent = NewSlot(a.heads * a.rank);
    graph_.ops.push_back(AttentionOp{.q = query,
                                     .k = k,
                                     .out = latent,
                                     .values_in_keys = true,
                                     .value_first = a.rope_size,
                                     .heads = a.heads,
                                     .kv_heads = 1,
                                     .key_size = key,
                                     .value_size = a.rank,
                                     .scale = static_cast<float>(a.scale)});
    HeadMatMulOp expand{.in = latent,
                        .out = mixed,
                        .heads = a.heads,
                        .in_stride = a.rank,
                        .out_stride = a.value_size};
    SMELT_ASSIGN_OR_RETURN(expand.matrix, Lower(a.v_b));
    graph_.ops.push_back(std::move(expand));
    graph_.state_per_token = key;
    return AddToStream(a.output, mixed, layer.post_mixer_norm);
  }

  absl::Status LatentKey(const LatentAttention& a, Slot in, Slot k) {
    const uint32_t key = a.rope_size + a.rank;
    const Slot latent = NewSlot(a.rank), rotated = NewSlot(a.rope_size);
    SMELT_RETURN_IF_ERROR(Multiply(Part(a.kv_a, 0, a.rank), in, latent));
    SMELT_RETURN_IF_ERROR(AddNorm(a.kv_a_norm, latent, latent, a.rank, false));
    SMELT_RETURN_IF_ERROR(Multiply(Part(a.kv_a, a.rank, a.rope_size), in, rotated));
    graph_.ops.push_back(CopyOp{.in = rotated,
                                .out = k,
                                .in_stride = a.rope_size,
                                .out_stride = key,
                                .count = a.rope_size});
    graph_.ops.push_back(CopyOp{.in = latent,
                                .out = k,
                                .in_stride = a.rank,
                                .out_stride = key,
                                .out_first = a.rope_size,
                                .count = a.rank});
    return absl::OkStatus();
  }

  absl::Status LatentQuery(const LatentAttention& a, Slot in, Slot q) {
    if (!a.q_a.present()) return Multiply(a.q, in, q);
    const uint32_t rank = static_cast<uint32_t>(Shape(a.q_a.weight).ne[1]);
    const Slot low = NewSlot(rank);
    SMELT_RETURN_IF_ERROR(Multiply(a.q_a, in, low));
    SMELT_RETURN_IF_ERROR(AddNorm(a.q_a_norm, low, low, rank, false));
    return Multiply(a.q, low, q);
  }

  void AddTemperature(Slot x, uint32_t features, double temperature, uint64_t length) {
    if (temperature == 0) return;
    graph_.ops.push_back(
        TemperatureOp{.x = x, .features = features, .temperature = temperature, .length = length});
  }

  absl::Status Mixer(const LayerSpec& layer, const ShortConvolution& c) {
    Slot normed = 0;
    SMELT_ASSIGN_OR_RETURN(const Slot in, MixerInput(layer, 0, normed));
    const Slot b = NewSlot(c.channels), gate = NewSlot(c.channels), x = NewSlot(c.channels);
    SMELT_RETURN_IF_ERROR(Multiply(Part(c.in, 0, c.channels), in, b));
    SMELT_RETURN_IF_ERROR(Multiply(Part(c.in, c.channels, c.channels), in, gate));
    SMELT_RETURN_IF_ERROR(Multiply(Part(c.in, 2ull * c.channels, c.channels), in, x));
    graph_.ops.push_back(GateOp{.x = x, .z = b, .features = c.channels, .gate = Gate::kNone});
    SMELT_RETURN_IF_ERROR(
        AddConvolution(x, c.conv_weight, c.conv_bias, c.channels, c.conv, /*plain=*/true));
    graph_.ops.push_back(GateOp{.x = x, .z = gate, .features = c.channels, .gate = Gate::kNone});
    return AddToStream(c.out, x, layer.post_mixer_norm);
  }

  absl::Status Mixer(const LayerSpec& layer, const Mamba1& m) {
    Slot normed = 0;
    SMELT_ASSIGN_OR_RETURN(const Slot in, MixerInput(layer, 0, normed));
    const Slot x = NewSlot(m.inner), z = NewSlot(m.inner), rank = NewSlot(m.rank),
               b = NewSlot(m.state);
    const Slot c = NewSlot(m.state), dt = NewSlot(m.inner);
    SMELT_RETURN_IF_ERROR(Multiply(Part(m.in, 0, m.inner), in, x));
    SMELT_RETURN_IF_ERROR(Multiply(Part(m.in, m.inner, m.inner), in, z));
    SMELT_RETURN_IF_ERROR(AddConvolution(x, m.conv_weight, m.conv_bias, m.inner, m.conv));
    SMELT_RETURN_IF_ERROR(Multiply(Part(m.x, 0, m.rank), x, rank));
    SMELT_RETURN_IF_ERROR(Multiply(Part(m.x, m.rank, m.state), x, b));
    SMELT_RETURN_IF_ERROR(Multiply(Part(m.x, m.rank + m.state, m.state), x, c));
    if (m.dt_norm.present()) SMELT_RETURN_IF_ERROR(AddNorm(m.dt_norm, rank, rank, m.rank, false));
    if (m.b_norm.present()) SMELT_RETURN_IF_ERROR(AddNorm(m.b_norm, b, b, m.state, false));
    if (m.c_norm.present()) SMELT_RETURN_IF_ERROR(AddNorm(m.c_norm, c, c, m.state, false));
    SMELT_RETURN_IF_ERROR(Multiply(m.dt, rank, dt));
    Scan1Op op{
        .x = x, .z = z, .dt = dt, .b = b, .c = c, .out = x, .inner = m.inner, .state = m.state};
    SMELT_ASSIGN_OR_RETURN(op.a, Values(m.a));
    SMELT_ASSIGN_OR_RETURN(op.d, Values(m.d));
    graph_.ops.push_back(std::move(op));
    return AddToStream(m.out, x, layer.post_mixer_norm);
  }

  absl::Status Mixer(const LayerSpec& layer, const Mamba2& m) {
    Slot normed = 0;
    SMELT_ASSIGN_OR_RETURN(const Slot in, MixerInput(layer, m.inner, normed));
    const uint32_t channels = m.inner + 2 * m.groups * m.state;
    const Slot z = NewSlot(m.inner), xbc = NewSlot(channels), dt = NewSlot(m.heads);
    SMELT_RETURN_IF_ERROR(Multiply(Part(m.in, 0, m.inner), in, z));
    SMELT_RETURN_IF_ERROR(Multiply(Part(m.in, m.inner, channels), in, xbc));
    SMELT_RETURN_IF_ERROR(Multiply(Part(m.in, m.inner + channels, m.heads), in, dt));
    SMELT_RETURN_IF_ERROR(AddConvolution(xbc, m.conv_weight, m.conv_bias, channels, m.conv));
    Scan2Op op{.xbc = xbc,
               .dt = dt,
               .out = normed,
               .inner = m.inner,
               .state = m.state,
               .heads = m.heads,
               .groups = m.groups,
               .dt_min = static_cast<float>(m.dt_min),
               .dt_max = static_cast<float>(m.dt_max)};
    SMELT_ASSIGN_OR_RETURN(op.dt_bias, Values(m.dt_bias));
    SMELT_ASSIGN_OR_RETURN(op.a, Values(m.a));
    SMELT_ASSIGN_OR_RETURN(op.d, Values(m.d));
    graph_.ops.push_back(std::move(op));
    const GateOp gate{.x = normed, .z = z, .features = m.inner};
    if (!m.norm_before_gate) graph_.ops.push_back(gate);
    if (m.norm.present()) SMELT_RETURN_IF_ERROR(AddNorm(m.norm, normed, normed, m.inner, false));
    if (m.norm_before_gate) graph_.ops.push_back(gate);
    return AddToStream(m.out, normed, layer.post_mixer_norm);
  }

  absl::Status AddConvolution(Slot x, TensorRef weight, TensorRef bias, uint32_t channels,
                              uint32_t taps, bool plain = false) {
    ConvOp op{.x = x, .channels = channels, .taps = taps, .plain = plain};
    SMELT_ASSIGN_OR_RETURN(op.weight, Values(weight));
    SMELT_ASSIGN_OR_RETURN(op.bias, Values(bias));
    graph_.ops.push_back(std::move(op));
    return absl::OkStatus();
  }

  absl::Status Feed(const LayerSpec& layer, const Mlp& mlp, Slot in) {
    const Linear& up = mlp.up;
    const Slot hidden = NewSlot(
        static_cast<uint32_t>(up.rows == 0 ? Shape(up.weight).ne[1] - up.first_row : up.rows));
    if (mlp.gate.present()) {
      SMELT_RETURN_IF_ERROR(Multiply(mlp.gate, in, hidden));
      SMELT_RETURN_IF_ERROR(Multiply(up, in, hidden, Store::kMultiplyAct, mlp.activation));
    } else {
      SMELT_RETURN_IF_ERROR(Multiply(up, in, hidden, Store::kActivate, mlp.activation));
    }
    return AddToStream(mlp.down, hidden, layer.post_ffn_norm);
  }

  absl::Status Feed(const LayerSpec& layer, const Experts& e, Slot in) {
    ExpertsOp op{.in = in,
                 .expert_in = in,
                 .out = 0,
                 .add = true,
                 .count = e.count,
                 .used = e.used,
                 .width = width_,
                 .gating = e.gating,
                 .groups = e.groups,
                 .groups_used = e.groups_used,
                 .group_by_two_best = e.group_by_two_best,
                 .normalize = e.normalize,
                 .sum_epsilon = static_cast<float>(e.sum_epsilon),
                 .scale = static_cast<float>(e.scale),
                 .activation = e.activation,
                 .clamped = e.clamped};
    SMELT_ASSIGN_OR_RETURN(op.selection_bias, Values(e.selection_bias));
    SMELT_ASSIGN_OR_RETURN(op.router, Lower(e.router));
    SMELT_ASSIGN_OR_RETURN(op.gate, Lower(e.gate));
    SMELT_ASSIGN_OR_RETURN(op.up, Lower(e.up));
    SMELT_ASSIGN_OR_RETURN(op.down, Lower(e.down));
    op.hidden = op.up.rows;
    if (e.latent_down.present()) return FeedLatent(layer, e, std::move(op));
    op.shared_activation = e.shared.activation;
    SMELT_ASSIGN_OR_RETURN(op.shared_gate_proj, Lower(e.shared.gate));
    SMELT_ASSIGN_OR_RETURN(op.shared_up, Lower(e.shared.up));
    SMELT_ASSIGN_OR_RETURN(op.shared_down, Lower(e.shared.down));
    SMELT_ASSIGN_OR_RETURN(op.shared_gate, Lower(e.shared_gate));
    if (!layer.post_ffn_norm.present() && residual_scale_ == 1) {
      graph_.ops.push_back(std::move(op));
      return absl::OkStatus();
    }
    op.out = NewSlot(width_);
    op.add = false;
    const Slot delta = op.out;
    graph_.ops.push_back(std::move(op));
    return AddDelta(delta, layer.post_ffn_norm);
  }

  // Experts between two projections; the shared one is an MLP like any other.
  absl::Status FeedLatent(const LayerSpec& layer, const Experts& e, ExpertsOp op) {
    op.width = static_cast<uint32_t>(Shape(e.latent_down.weight).ne[1]);
    op.expert_in = NewSlot(op.width);
    op.out = NewSlot(op.width);
    op.add = false;
    const Slot sum = op.out;
    SMELT_RETURN_IF_ERROR(Multiply(e.latent_down, op.in, op.expert_in));
    const Slot in = op.in;
    graph_.ops.push_back(std::move(op));
    SMELT_RETURN_IF_ERROR(AddToStream(e.latent_up, sum, layer.post_ffn_norm));
    if (!e.shared.up.present()) return absl::OkStatus();
    return Feed(layer, e.shared, in);
  }

  const uint32_t width_;
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

}  // namespace

absl::StatusOr<Graph> LowerLayer(const LayerSpec& layer, uint32_t width, const ModelSource& source,
                                 WeightUse use, Backend& backend) {
  Lowerer lowerer(width, source, use, backend);
  SMELT_RETURN_IF_ERROR(lowerer.Layer(layer));
  return lowerer.Take();
}

absl::StatusOr<Graph> LowerFinalNorm(const ModelSpec& spec, const ModelSource& source,
                                     Backend& backend) {
  Lowerer lowerer(spec.width, source, WeightUse::kStream, backend);
  if (spec.final_norm.present())
    SMELT_RETURN_IF_ERROR(lowerer.AddNorm(spec.final_norm, 0, 0, spec.width, false));
  return lowerer.Take();
}

absl::StatusOr<Head> LowerHead(const ModelSpec& spec, const ModelSource& source, WeightUse use,
                               Backend& backend) {
  Lowerer lowerer(spec.width, source, use, backend);
  Head head{.scale = static_cast<float>(spec.logit_scale),
            .softcap = static_cast<float>(spec.logit_softcap)};
  SMELT_ASSIGN_OR_RETURN(head.output, lowerer.Lower(spec.output));
  return head;
}

}  // namespace smelt
