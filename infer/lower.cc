#include "infer/lower.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "lib/base/status.h"

namespace smelt {
namespace {

class Lowerer {
 public:
  Lowerer(const ModelSpec& spec, const ModelSource& source, WeightUse use, Backend& backend)
      : width_(spec.width),
        inputs_(spec.inputs.size),
        source_(source),
        use_(use),
        backend_(backend) {
    graph_.slots.push_back({width_, 0});
    graph_.slots.push_back({inputs_ * static_cast<uint32_t>(spec.layers.size()), 0});
  }

  /// Block `number` of the model.
  absl::Status Layer(const LayerSpec& layer, uint32_t number) {
    const uint64_t start = top_;
    SMELT_RETURN_IF_ERROR(MixAndFeed(layer));
    top_ = start;
    if (layer.input.present()) SMELT_RETURN_IF_ERROR(AddInput(layer.input, number));
    if (layer.output_scale != 1) {
      graph_.ops.push_back(ScaleOp{
          .x = kStream, .features = width_, .scale = static_cast<float>(layer.output_scale)});
    }
    return absl::OkStatus();
  }

  /// The stream is the embedding, the inputs hold the scaled rows of the table.
  absl::Status Inputs(const PerLayerInputs& inputs) {
    const uint32_t features = graph_.slots[kInputs].features;
    const Slot projected = NewSlot(features);
    SMELT_RETURN_IF_ERROR(Multiply(inputs.projection, kStream, projected));
    SMELT_RETURN_IF_ERROR(AddNorm(inputs.norm, projected, projected, features, false));
    graph_.ops.push_back(AddOp{.in = projected,
                               .out = kInputs,
                               .features = features,
                               .scale = static_cast<float>(inputs.scale)});
    return absl::OkStatus();
  }

  absl::Status MixAndFeed(const LayerSpec& layer) {
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
    if (layer.experts_beside.present()) return FeedBoth(layer);
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

  absl::Status AddInput(const LayerInput& input, uint32_t number) {
    const Slot gate = NewSlot(inputs_), own = NewSlot(inputs_), delta = NewSlot(width_);
    SMELT_RETURN_IF_ERROR(Multiply(input.gate, kStream, gate));
    graph_.ops.push_back(CopyOp{.in = kInputs,
                                .out = own,
                                .in_stride = graph_.slots[kInputs].features,
                                .in_first = number * inputs_,
                                .out_stride = inputs_,
                                .count = inputs_});
    graph_.ops.push_back(
        GateOp{.x = own, .z = gate, .features = inputs_, .activation = input.activation});
    SMELT_RETURN_IF_ERROR(Multiply(input.projection, own, delta));
    return AddNorm(input.post_norm, delta, kStream, width_, true);
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
    const bool own_keys = a.keys_of < 0;
    const Slot q = NewSlot(q_features), k = NewSlot(own_keys ? k_features : 0),
               v = NewSlot(own_keys ? v_features : 0);
    Slot gate = 0;
    if (a.gated) {
      gate = NewSlot(out_features);
      SMELT_RETURN_IF_ERROR(MultiplySplit(a.q, in, q, gate, a.heads, a.key_size, a.value_size));
    } else {
      SMELT_RETURN_IF_ERROR(Multiply(a.q, in, q));
    }
    if (own_keys) SMELT_RETURN_IF_ERROR(KeysAndValues(a, in, k, v));
    if (a.clamp != 0) {
      for (const Slot x : own_keys ? std::vector<Slot>{q, k, v} : std::vector<Slot>{q}) {
        graph_.ops.push_back(ClampOp{
            .x = x, .features = graph_.slots[x].features, .limit = static_cast<float>(a.clamp)});
      }
    }
    const auto normalize = [&]() -> absl::Status {
      if (a.q_norm.present()) SMELT_RETURN_IF_ERROR(AddNorm(a.q_norm, q, q, q_features, false));
      if (own_keys && a.k_norm.present())
        SMELT_RETURN_IF_ERROR(AddNorm(a.k_norm, k, k, k_features, false));
      return absl::OkStatus();
    };
    if (!a.norm_after_rope) SMELT_RETURN_IF_ERROR(normalize());
    if (a.rope.style != RopeStyle::kNone) {
      graph_.ops.push_back(RopeOp{.q = q,
                                  .k = k,
                                  .rope = a.rope,
                                  .heads = a.heads,
                                  .kv_heads = own_keys ? a.kv_heads : 0,
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
                   .causal = a.causal,
                   .own_keys = own_keys};
    SMELT_ASSIGN_OR_RETURN(op.sinks, Values(a.sinks));
    graph_.ops.push_back(std::move(op));
    graph_.state_per_token = own_keys ? k_features + v_features : 0;
    if (a.gated) {
      graph_.ops.push_back(GateOp{
          .x = mixed, .z = gate, .features = out_features, .activation = Activation::kSigmoid});
    }
    return AddToStream(a.output, mixed, layer.post_mixer_norm);
  }

  absl::Status Mixer(const LayerSpec& layer, const LatentAttention& a) {
    const uint32_t head = a.plain_size + a.rope_size, key = a.rope_size + a.rank;
    Slot mixed = 0;
    SMELT_ASSIGN_OR_RETURN(const Slot in, MixerInput(layer, a.heads * a.value_size, mixed));
    const Slot q = NewSlot(a.heads * head), k = NewSlot(key);
    const uint64_t start = top_;
    SMELT_RETURN_IF_ERROR(LatentKey(a, in, k));
    top_ = start;
    SMELT_RETURN_IF_ERROR(LatentQuery(a, in, q));
    graph_.ops.push_back(RopeOp{.q = q,
                                .k = k,
                                .rope = a.rope,
                                .heads = a.heads,
                                .kv_heads = 1,
                                .head_size = head,
                                .q_first = a.plain_size,
                                .k_head_size = key});
    AddTemperature(q, a.heads * head, a.temperature, a.temperature_length);
    LatentAttentionOp op{.q = q,
                         .k = k,
                         .out = mixed,
                         .heads = a.heads,
                         .rank = a.rank,
                         .plain_size = a.plain_size,
                         .rope_size = a.rope_size,
                         .value_size = a.value_size,
                         .scale = static_cast<float>(a.scale)};
    SMELT_ASSIGN_OR_RETURN(op.k_b, Lower(a.k_b));
    SMELT_ASSIGN_OR_RETURN(op.v_b, Lower(a.v_b));
    graph_.ops.push_back(std::move(op));
    graph_.state_per_token = key;
    return AddToStream(a.output, mixed, layer.post_mixer_norm);
  }

  // Rotated values come first, where RopeOp looks for them.
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
    graph_.ops.push_back(GateOp{.x = x, .z = b, .features = c.channels, .plain = true});
    SMELT_RETURN_IF_ERROR(
        AddConvolution(x, c.conv_weight, c.conv_bias, c.channels, c.conv, /*plain=*/true));
    graph_.ops.push_back(GateOp{.x = x, .z = gate, .features = c.channels, .plain = true});
    return AddToStream(c.out, x, layer.post_mixer_norm);
  }

  // Keys, not yet normalised, and values.
  absl::Status KeysAndValues(const Attention& a, Slot in, Slot k, Slot v) {
    const uint32_t features = a.kv_heads * a.value_size;
    SMELT_RETURN_IF_ERROR(Multiply(a.k, in, k));
    Slot value = v;
    if (a.v.weight == a.k.weight && a.v.first_row == a.k.first_row && a.v.rows == a.k.rows) {
      value = k;
    } else {
      SMELT_RETURN_IF_ERROR(Multiply(a.v, in, v));
    }
    if (a.v_norm.present()) return AddNorm(a.v_norm, value, v, features, false);
    if (value != v) {
      graph_.ops.push_back(CopyOp{
          .in = value, .out = v, .in_stride = features, .out_stride = features, .count = features});
    }
    return absl::OkStatus();
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

  absl::Status Mixer(const LayerSpec& layer, const DeltaNet& d) {
    const uint32_t values = d.value_heads * d.value_size;
    const uint32_t channels = 2 * d.key_heads * d.key_size + values;
    Slot mixed = 0;
    SMELT_ASSIGN_OR_RETURN(const Slot in, MixerInput(layer, values, mixed));
    const Slot z = NewSlot(values), qkv = NewSlot(channels), beta = NewSlot(d.value_heads),
               alpha = NewSlot(d.value_heads);
    SMELT_RETURN_IF_ERROR(Multiply(d.gate, in, z));
    SMELT_RETURN_IF_ERROR(Multiply(d.qkv, in, qkv));
    if (d.alpha.present()) {
      SMELT_RETURN_IF_ERROR(Multiply(d.beta, in, beta));
      SMELT_RETURN_IF_ERROR(Multiply(d.alpha, in, alpha));
    } else {
      const uint32_t shared = d.value_heads / d.key_heads;
      SMELT_RETURN_IF_ERROR(MultiplySplit(d.beta, in, beta, alpha, d.key_heads, shared, shared));
    }
    SMELT_RETURN_IF_ERROR(AddConvolution(qkv, d.conv_weight, kNoTensor, channels, d.conv));
    DeltaOp op{.qkv = qkv,
               .beta = beta,
               .alpha = alpha,
               .out = mixed,
               .key_heads = d.key_heads,
               .value_heads = d.value_heads,
               .key_size = d.key_size,
               .value_size = d.value_size,
               .alternating = d.alternating};
    SMELT_ASSIGN_OR_RETURN(op.dt_bias, Values(d.dt_bias));
    SMELT_ASSIGN_OR_RETURN(op.a, Values(d.a));
    graph_.ops.push_back(std::move(op));
    SMELT_RETURN_IF_ERROR(AddNorm(d.norm, mixed, mixed, values, false));
    graph_.ops.push_back(GateOp{.x = mixed, .z = z, .features = values});
    return AddToStream(d.out, mixed, layer.post_mixer_norm);
  }

  // The product's rows, so many for `first` and so many for `second` by turns.
  absl::Status MultiplySplit(const Linear& linear, Slot in, Slot first, Slot second, uint32_t turns,
                             uint32_t first_size, uint32_t second_size) {
    const uint64_t top = top_;
    const Slot both = NewSlot(turns * (first_size + second_size));
    SMELT_RETURN_IF_ERROR(Multiply(linear, in, both));
    const uint32_t step = first_size + second_size;
    graph_.ops.push_back(CopyOp{.in = both,
                                .out = first,
                                .groups = turns,
                                .in_stride = step,
                                .out_stride = first_size,
                                .count = first_size});
    graph_.ops.push_back(CopyOp{.in = both,
                                .out = second,
                                .groups = turns,
                                .in_stride = step,
                                .in_first = first_size,
                                .out_stride = second_size,
                                .count = second_size});
    top_ = top;
    return absl::OkStatus();
  }

  absl::Status AddConvolution(Slot x, TensorRef weight, TensorRef bias, uint32_t channels,
                              uint32_t taps, bool plain = false) {
    ConvOp op{.x = x, .channels = channels, .taps = taps, .plain = plain};
    SMELT_ASSIGN_OR_RETURN(op.weight, Values(weight));
    SMELT_ASSIGN_OR_RETURN(op.bias, Values(bias));
    graph_.ops.push_back(std::move(op));
    return absl::OkStatus();
  }

  // What the rows of mlp.down read.
  absl::StatusOr<Slot> Hidden(const Mlp& mlp, Slot in) {
    const Linear& up = mlp.up;
    const Slot hidden = NewSlot(
        static_cast<uint32_t>(up.rows == 0 ? Shape(up.weight).ne[1] - up.first_row : up.rows));
    if (mlp.gate.present()) {
      SMELT_RETURN_IF_ERROR(Multiply(mlp.gate, in, hidden));
      SMELT_RETURN_IF_ERROR(Multiply(up, in, hidden, Store::kMultiplyAct, mlp.activation));
    } else if (mlp.xielu) {
      SMELT_RETURN_IF_ERROR(Multiply(up, in, hidden));
      graph_.ops.push_back(
          XieluOp{.x = hidden, .features = graph_.slots[hidden].features, .xielu = *mlp.xielu});
    } else {
      SMELT_RETURN_IF_ERROR(Multiply(up, in, hidden, Store::kActivate, mlp.activation));
    }
    return hidden;
  }

  absl::Status Feed(const LayerSpec& layer, const Mlp& mlp, Slot in) {
    SMELT_ASSIGN_OR_RETURN(const Slot hidden, Hidden(mlp, in));
    return AddToStream(mlp.down, hidden, layer.post_ffn_norm);
  }

  absl::Status FeedBoth(const LayerSpec& layer) {
    const Mlp& mlp = std::get<Mlp>(layer.ffn);
    const ExpertsBeside& beside = layer.experts_beside;
    const Slot in = NewSlot(width_), delta = NewSlot(width_);
    SMELT_RETURN_IF_ERROR(AddNorm(layer.ffn_norm, kStream, in, width_, false));
    SMELT_ASSIGN_OR_RETURN(const Slot hidden, Hidden(mlp, in));
    SMELT_RETURN_IF_ERROR(Multiply(mlp.down, hidden, delta));
    SMELT_RETURN_IF_ERROR(AddNorm(beside.mlp_norm, delta, delta, width_, false));
    SMELT_RETURN_IF_ERROR(AddNorm(beside.in_norm, kStream, in, width_, false));
    const Slot result = NewSlot(width_);
    SMELT_RETURN_IF_ERROR(AddExperts(beside.experts, in, result, false));
    SMELT_RETURN_IF_ERROR(AddNorm(beside.out_norm, result, delta, width_, true));
    return AddDelta(delta, layer.post_ffn_norm);
  }

  absl::Status Feed(const LayerSpec& layer, const Experts& e, Slot in) {
    if (e.latent_down.present()) return FeedLatent(layer, e, in);
    if (!layer.post_ffn_norm.present() && residual_scale_ == 1)
      return AddExperts(e, in, kStream, true);
    const Slot delta = NewSlot(width_);
    SMELT_RETURN_IF_ERROR(AddExperts(e, in, delta, false));
    return AddDelta(delta, layer.post_ffn_norm);
  }

  absl::Status AddExperts(const Experts& e, Slot in, Slot out, bool add) {
    SMELT_ASSIGN_OR_RETURN(ExpertsOp op, ChosenExperts(e, in));
    op.out = out;
    op.add = add;
    op.shared_activation = e.shared.activation;
    SMELT_ASSIGN_OR_RETURN(op.shared_gate_proj, Lower(e.shared.gate));
    SMELT_ASSIGN_OR_RETURN(op.shared_up, Lower(e.shared.up));
    SMELT_ASSIGN_OR_RETURN(op.shared_down, Lower(e.shared.down));
    SMELT_ASSIGN_OR_RETURN(op.shared_gate, Lower(e.shared_gate));
    graph_.ops.push_back(std::move(op));
    return absl::OkStatus();
  }

  // Without what is always on.
  absl::StatusOr<ExpertsOp> ChosenExperts(const Experts& e, Slot in) {
    ExpertsOp op{.in = in,
                 .expert_in = in,
                 .count = e.count,
                 .used = e.used,
                 .width = width_,
                 .router_scale = static_cast<float>(e.router_scale),
                 .gating = e.gating,
                 .groups = e.groups,
                 .groups_used = e.groups_used,
                 .group_by_two_best = e.group_by_two_best,
                 .normalize = e.normalize,
                 .sum_epsilon = static_cast<float>(e.sum_epsilon),
                 .scale = static_cast<float>(e.scale),
                 .activation = e.activation,
                 .clamped = e.clamped};
    if (e.router_norm.present()) {
      op.in = NewSlot(width_);
      SMELT_RETURN_IF_ERROR(AddNorm(e.router_norm, kStream, op.in, width_, false));
    }
    SMELT_ASSIGN_OR_RETURN(op.selection_bias, Values(e.selection_bias));
    SMELT_ASSIGN_OR_RETURN(op.expert_scale, Values(e.expert_scale));
    SMELT_ASSIGN_OR_RETURN(op.router, Lower(e.router));
    SMELT_ASSIGN_OR_RETURN(op.gate, Lower(e.gate));
    SMELT_ASSIGN_OR_RETURN(op.up, Lower(e.up));
    SMELT_ASSIGN_OR_RETURN(op.down, Lower(e.down));
    op.hidden = op.up.rows;
    return op;
  }

  // Experts between two projections; the shared one is an MLP like any other.
  absl::Status FeedLatent(const LayerSpec& layer, const Experts& e, Slot in) {
    const uint32_t width = static_cast<uint32_t>(Shape(e.latent_down.weight).ne[1]);
    const Slot latent = NewSlot(width), sum = NewSlot(width);
    SMELT_RETURN_IF_ERROR(Multiply(e.latent_down, in, latent));
    SMELT_ASSIGN_OR_RETURN(ExpertsOp op, ChosenExperts(e, in));
    op.expert_in = latent;
    op.out = sum;
    op.width = width;
    graph_.ops.push_back(std::move(op));
    SMELT_RETURN_IF_ERROR(AddToStream(e.latent_up, sum, layer.post_ffn_norm));
    if (!e.shared.up.present()) return absl::OkStatus();
    return Feed(layer, e.shared, in);
  }

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

}  // namespace

absl::StatusOr<Graph> LowerLayer(const ModelSpec& spec, size_t layer, const ModelSource& source,
                                 WeightUse use, Backend& backend) {
  Lowerer lowerer(spec, source, use, backend);
  SMELT_RETURN_IF_ERROR(lowerer.Layer(spec.layers[layer], static_cast<uint32_t>(layer)));
  return lowerer.Take();
}

absl::StatusOr<Graph> LowerInputs(const ModelSpec& spec, const ModelSource& source, WeightUse use,
                                  Backend& backend) {
  Lowerer lowerer(spec, source, use, backend);
  SMELT_RETURN_IF_ERROR(lowerer.Inputs(spec.inputs));
  return lowerer.Take();
}

absl::StatusOr<Graph> LowerFinalNorm(const ModelSpec& spec, const ModelSource& source,
                                     Backend& backend) {
  Lowerer lowerer(spec, source, WeightUse::kStream, backend);
  if (spec.final_norm.present())
    SMELT_RETURN_IF_ERROR(lowerer.AddNorm(spec.final_norm, 0, 0, spec.width, false));
  return lowerer.Take();
}

absl::StatusOr<Head> LowerHead(const ModelSpec& spec, const ModelSource& source, WeightUse use,
                               Backend& backend) {
  Lowerer lowerer(spec, source, use, backend);
  Head head{.scale = static_cast<float>(spec.logit_scale),
            .softcap = static_cast<float>(spec.logit_softcap)};
  SMELT_ASSIGN_OR_RETURN(head.output, lowerer.Lower(spec.output));
  return head;
}

}  // namespace smelt
