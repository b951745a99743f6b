// Mixers that carry a state or a window along.
#include "infer/lowerer.h"
#include "lib/base/status.h"

namespace smelt {

absl::Status Lowerer::Mixer(const LayerSpec& layer, const Mamba1& m) {
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

absl::Status Lowerer::Mixer(const LayerSpec& layer, const Mamba2& m) {
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

absl::Status Lowerer::Mixer(const LayerSpec& layer, const DeltaNet& d) {
  const uint32_t values = d.value_heads * d.value_size;
  const uint32_t channels = 2 * d.key_heads * d.key_size + values;
  Slot mixed = 0;
  SMELT_ASSIGN_OR_RETURN(const Slot in, MixerInput(layer, values, mixed));
  const Slot z = NewSlot(values), qkv = NewSlot(channels), beta = NewSlot(d.value_heads),
             alpha = NewSlot(d.value_heads);
  const uint32_t shared = d.value_heads / d.key_heads;
  if (d.gate.present()) {
    SMELT_RETURN_IF_ERROR(Multiply(d.gate, in, z));
    SMELT_RETURN_IF_ERROR(Multiply(d.qkv, in, qkv));
  } else {
    const uint32_t keys = d.key_heads * d.key_size, of_key = shared * d.value_size;
    SMELT_RETURN_IF_ERROR(MultiplySplit(
        d.qkv, in, d.key_heads,
        {{qkv, 0, d.key_size}, {qkv, keys, d.key_size}, {qkv, 2 * keys, of_key}, {z, 0, of_key}}));
  }
  if (d.alpha.present()) {
    SMELT_RETURN_IF_ERROR(Multiply(d.beta, in, beta));
    SMELT_RETURN_IF_ERROR(Multiply(d.alpha, in, alpha));
  } else {
    SMELT_RETURN_IF_ERROR(
        MultiplySplit(d.beta, in, d.key_heads, {{beta, 0, shared}, {alpha, 0, shared}}));
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

absl::Status Lowerer::Mixer(const LayerSpec& layer, const ShortConvolution& c) {
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

absl::Status Lowerer::AddConvolution(Slot x, TensorRef weight, TensorRef bias, uint32_t channels,
                                     uint32_t taps, bool plain) {
  ConvOp op{.x = x, .channels = channels, .taps = taps, .plain = plain};
  SMELT_ASSIGN_OR_RETURN(op.weight, Values(weight));
  SMELT_ASSIGN_OR_RETURN(op.bias, Values(bias));
  graph_.ops.push_back(std::move(op));
  return absl::OkStatus();
}

}  // namespace smelt
